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


class Agreement(NamedTuple):
    """Result of a comparison.

    :param spikes: how many were compared, silent ones too
    :param near: neurons, each with one observation, whose first differing spike is one of a
        potential at the threshold
    :param action_difference: largest difference of an action; of integers the share that differs
    """

    spikes: int
    near: int
    action_difference: float


@torch.no_grad()
def compare_spikes(agent: SpikingAgent, policy: Policy, observations: NDArray[Any]) -> Agreement:
    """Compare every spike of every layer, each with the agent's own spikes as its input.

    :param observations: as the environment shows them, ``[B, ...]``
    :raises UserError: a spike differs although its potential is not at the threshold
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
        inputs: Array = network.encoder(features.float().flatten(1)).numpy()
    compared, near = inputs.size, 0
    if policy.encoder.threshold is not None:
        drive = policy.encoder.drive(policy.seen(batch))
        threshold = np.full(drive.shape[1], policy.encoder.threshold, np.float32)
        near += _check("encoder", inputs, *policy.encoder.fire(drive, len(inputs)), threshold)
    for i, layer in enumerate(policy.layers):
        expected: Array = traces[part][f"layers.{i}"].spikes.numpy()
        spikes, membranes = layer.fire(layer.currents(inputs))
        near += _check(f"layers.{i}", expected, spikes, membranes, layer.threshold)
        compared += expected.size
        inputs = expected
    usual, _ = agent.predict(shown, deterministic=True)
    actions = policy.act(observations)
    return Agreement(compared, near, _difference(actions, usual))


def _check(
    name: str, expected: Array, spikes: Array, membranes: NDArray[Any], threshold: NDArray[Any]
) -> int:
    """Return how many neurons ``[B, N]`` differ by rounding.

    :raises UserError: one differs otherwise
    """
    differs = expected != spikes
    wrong = differs.any(0)
    first = differs.argmax(0)[None]
    potentials = np.take_along_axis(membranes, first, 0)[0]
    distance = np.abs(potentials - threshold) / np.maximum(1, np.abs(threshold))
    if (far := int((wrong & (distance > NEAR)).sum())) > 0:
        raise UserError(
            f"fold: {name}: {far} neurons spike otherwise than the agent's, by potentials that are "
            f"not at the threshold; this is a fault of snnrl, please report it"
        )
    return int(wrong.sum())


def _difference(actions: NDArray[Any], usual: NDArray[Any]) -> float:
    if np.issubdtype(usual.dtype, np.integer):
        return float((actions != usual).mean())
    return float(np.abs(actions - usual).max())
