"""Whether a folded policy spikes as its agent does."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from snnrl.agents.base import SpikingAgent
from snnrl.deploy.runtime import Array, Policy
from snnrl.errors import UserError
from snnrl.nn.modes import evaluation_mode

NEAR = 1e-5
"""Distance of a membrane potential from its threshold, relative where they are above 1, within
which rounding decides."""

MOST_NEAR = 1e-3
"""Largest share of neurons whose potentials may be there."""

CLOSE = 1e-4
"""Largest difference of actions of the same spikes, as a share of their range."""

EXPECTED = (
    "expected classes of snnrl, or own ones that compute what they say, and observations that "
    "single precision tells apart; otherwise this is a fault of snnrl, please report it"
)


class Agreement(NamedTuple):
    """Result of a comparison.

    :param spikes: how many were compared, silent ones too
    :param near: neurons, each with one observation, whose first differing spike is one of a
        potential at the threshold
    """

    spikes: int
    near: int


@torch.no_grad()
def compare_spikes(agent: SpikingAgent, policy: Policy, observations: NDArray[Any]) -> Agreement:
    """Compare every spike of every layer, each with the agent's own spikes as its input, and the
    actions that the agent's own spikes lead to.

    :param observations: as the environment shows them, ``[B, ...]``
    :raises UserError: a spike differs although its potential is not at the threshold, too many do
        that are, or a current or an action differs
    """
    batch, _ = policy.batch(observations)
    network = agent.acting_network()
    assert network is not None
    shown = agent.normalize(np.asarray(observations))
    traces = agent.record(shown)
    part = "actor" if "actor" in traces else "q_network"
    with evaluation_mode(network):
        features, _ = agent.policy.obs_to_tensor(shown)
        assert isinstance(features, torch.Tensor)
        inputs: Array = network.encoder(features.float().flatten(1)).cpu().numpy()
    compared, near = inputs.size, 0
    if policy.encoder.threshold is None:
        _check_close("encoder", policy.encode(batch), inputs)
    else:
        drive = policy.encoder.drive(policy.seen(batch))
        threshold = np.full(drive.shape[1], policy.encoder.threshold, np.float32)
        near += _check("encoder", inputs, *policy.encoder.fire(drive, len(inputs)), threshold)
    for i, layer in enumerate(policy.layers):
        expected: Array = traces[part][f"layers.{i}"].spikes.cpu().numpy()
        spikes, membranes = layer.fire(layer.currents(inputs))
        near += _check(f"layers.{i}", expected, spikes, membranes, layer.threshold)
        compared += expected.size
        inputs = expected
    usual, _ = agent.predict(shown, deterministic=True)
    _check_actions(policy, policy.readout.read(inputs), usual)
    return Agreement(compared, near)


def _check(
    name: str, expected: Array, spikes: Array, membranes: NDArray[Any], threshold: NDArray[Any]
) -> int:
    """Return how many neurons ``[B, N]`` differ by rounding.

    :raises UserError: one differs otherwise, or too many do
    """
    differs = expected != spikes
    wrong = differs.any(0)
    first = differs.argmax(0)[None]
    potentials = np.take_along_axis(membranes, first, 0)[0]
    distance = np.abs(potentials - threshold) / np.maximum(1, np.abs(threshold))
    # Also what is not a number.
    far = int((wrong & ~(distance <= NEAR)).sum())
    near = int(wrong.sum()) - far
    if far or near > max(2, MOST_NEAR * wrong.size):
        which = f"{far} of them not" if far else "too many of them"
        raise UserError(
            f"fold: {name}: {far + near} neurons spike otherwise than the agent's, {which} by a "
            f"potential at the threshold; {EXPECTED}"
        )
    return near


def _check_close(name: str, found: NDArray[Any], expected: NDArray[Any]) -> None:
    if not np.allclose(found, expected, rtol=1e-4, atol=1e-5):
        raise UserError(f"fold: {name}: its currents are not the agent's; {EXPECTED}")


def _check_actions(policy: Policy, values: Array, usual: NDArray[Any]) -> None:
    """Compare the actions of the agent's own spikes.

    :raises UserError: they differ by more than rounding
    """
    actions = policy.head.actions(values).reshape(usual.shape)
    if policy.head.kind == "argmax":
        best = np.take_along_axis(values, usual.reshape(-1, 1), 1)[:, 0]
        highest = values[:, : policy.head.outputs].max(1)
        same = bool(np.all(highest - best <= CLOSE * np.maximum(1, np.abs(highest))))
    else:
        bound = np.asarray(CLOSE * (policy.head.high - policy.head.low))
        distance = np.abs(actions - usual).reshape(len(usual), -1)
        same = bool(np.all(distance <= bound))
    if not same:
        raise UserError(f"fold: actions of the same spikes are not the agent's; {EXPECTED}")
