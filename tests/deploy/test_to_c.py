"""The C file computes what the policy computes."""

from __future__ import annotations

import subprocess
from ctypes import CDLL, c_uint8, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnrl.deploy.agreement import NEAR
from snnrl.deploy.folding import fold
from snnrl.deploy.quantising import quantise
from snnrl.deploy.runtime import Array, Normaliser, Policy
from snnrl.deploy.to_c import FLAGS, to_c
from snnrl.errors import UserError
from snnrl.ops.native.library import compiler

from .policies import agent_of, observations, policy_of, spikes_of

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")

WARNINGS = "-Wall -Wextra -Werror -pedantic"


class Compiled:
    """A policy compiled from its C file, which may look at the file's own arrays."""

    def __init__(self, policy: Policy, folder: Path):
        self.policy = policy
        source, header = to_c(policy)
        (folder / "policy.c").write_text(source)
        (folder / "policy.h").write_text(header)
        peeks = '#include "policy.c"\n' + "".join(
            f"const void *peek_{i}(void);\nconst void *peek_{i}(void) {{ return spikes_{i}; }}\n"
            for i in range(len(policy.layers))
        )
        (folder / "peeks.c").write_text(peeks)
        flags = [*WARNINGS.split(), *FLAGS.split(), "-shared", "-fPIC"]
        # The file by itself, as people compile it, and then with the functions that look.
        for name in ("policy", "peeks"):
            command = ["cc", *flags, f"{name}.c", "-o", f"{name}.so", "-lm"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        self.library = CDLL(str(folder / "peeks.so"))
        for i in range(len(policy.layers)):
            getattr(self.library, f"peek_{i}").restype = c_void_p

    def act(self, observation: Array) -> tuple[Array, list[Array]]:
        """The action, and the spikes ``[T, N]`` of each layer."""
        action = np.zeros(max(1, self.policy.head.low.size), np.float32)
        pointers = (c_void_p(each.ctypes.data) for each in (observation, action))
        self.library.policy_step(*pointers)
        spikes = []
        for i, layer in enumerate(self.policy.layers):
            size = self.policy.time_steps * len(layer.weight)
            address = getattr(self.library, f"peek_{i}")()
            found = np.frombuffer((c_uint8 * size).from_address(address), np.uint8)
            spikes.append(found.reshape(self.policy.time_steps, -1).copy())
        return action, spikes


CASES: list[tuple[str, dict[str, Any]]] = [
    ("td3", dict(neuron="clif")),
    ("td3", dict(bn="bntt", neuron="dn")),
    ("td3", dict(bn="mpbn", encoder="population_current")),
    ("sac", dict(neuron="plif", readout="membrane")),
    ("sac", dict(readout=dict(name="membrane", value="max", decay=0.8))),
    ("sac", dict(readout=dict(name="membrane", value="mean"))),
    ("dqn", dict(encoder="direct")),
    ("ppo", dict(readout="linear")),
]


def made(variant: str, changes: dict[str, Any]) -> tuple[Policy, Array]:
    agent = agent_of(variant, **changes)
    return fold(agent), observations(agent, 150)


def near_threshold(policy: Policy, shown: Array) -> np.ndarray:
    """Observations with a potential so near its threshold that rounding decides, ``[B]``."""
    batch, _ = policy.batch(shown)
    found = np.zeros(len(batch), bool)
    if policy.encoder.threshold is not None:
        drive = policy.encoder.drive(policy.seen(batch))
        potentials = policy.encoder.fire(drive, policy.time_steps)[1]
        found |= (np.abs(potentials - policy.encoder.threshold) < NEAR).any((0, 2))
    inputs = policy.encode(batch)
    for layer in policy.layers:
        inputs, membranes = layer.fire(layer.currents(inputs))
        near = np.abs(membranes - layer.threshold) < NEAR * np.maximum(1, np.abs(layer.threshold))
        found |= near.any((0, 2))
    return found


@needs_compiler
@pytest.mark.parametrize(("variant", "changes"), CASES, ids=str)
def test_the_same_spikes_and_actions(variant: str, changes: dict[str, Any], tmp_path: Path) -> None:
    policy, shown = made(variant, changes)
    compiled, expected = Compiled(policy, tmp_path), spikes_of(policy, shown)
    near = near_threshold(policy, shown)
    assert near.mean() < 0.1
    actions = policy.act(shown).reshape(len(shown), -1)
    fired = 0
    for b in np.flatnonzero(~near):
        action, spikes = compiled.act(shown[b])
        for ours, theirs in zip(spikes, expected[1:], strict=True):
            np.testing.assert_array_equal(ours, theirs[:, b])
            fired += int(ours.sum())
        np.testing.assert_allclose(action, actions[b], rtol=0, atol=2e-5)
    assert fired >= 50


@needs_compiler
@pytest.mark.parametrize("neuron", ["lif", "clif"])
def test_integers_are_the_same_bits(neuron: str, tmp_path: Path) -> None:
    policy, shown = made("td3", dict(neuron=neuron, net_arch=[40, 30]))
    policy = quantise(policy)
    compiled, expected = Compiled(policy, tmp_path), spikes_of(policy, shown)
    # The encoder is not of integers: the same drive but for rounding.
    batch, _ = policy.batch(shown)
    drive = policy.encoder.drive(policy.seen(batch))
    potentials = policy.encoder.fire(drive, policy.time_steps)[1]
    assert policy.encoder.threshold is not None
    near = (np.abs(potentials - policy.encoder.threshold) < NEAR).any((0, 2))
    assert near.mean() < 0.1
    for b in np.flatnonzero(~near):
        action, spikes = compiled.act(shown[b])
        for ours, theirs in zip(spikes, expected[1:], strict=True):
            np.testing.assert_array_equal(ours, theirs[:, b])
        np.testing.assert_allclose(action, policy.act(shown[b]), rtol=0, atol=1e-6)


@needs_compiler
def test_a_normaliser(tmp_path: Path) -> None:
    policy, shown = made("td3", {})
    mean = np.linspace(-1, 1, shown.shape[1]).astype(np.float32)
    policy = policy._replace(normaliser=Normaliser(mean, mean * 0 + 2, 0.7))
    compiled = Compiled(policy, tmp_path)
    near = near_threshold(policy, shown)
    for b in np.flatnonzero(~near):
        action = compiled.act(shown[b])[0]
        np.testing.assert_allclose(action, policy.act(shown[b]), rtol=0, atol=2e-5)


def test_what_is_declared() -> None:
    source, header = to_c(policy_of(), "walker")
    assert "void walker_step(const float *observation, float *action);" in header
    assert "malloc" not in source and '#include "walker.h"' in source
    assert to_c(policy_of(), "walker") == (source, header)


@pytest.mark.parametrize("name", ["", "1st", "a-b", "Policy", "a b"])
def test_a_name_that_is_none_in_c(name: str) -> None:
    with pytest.raises(UserError, match=r": expected a name in C"):
        to_c(policy_of(), name)


def test_a_weight_that_is_not_finite() -> None:
    policy = policy_of()
    bias = policy.layers[0].bias.copy()
    bias[0] = np.nan
    layers = (policy.layers[0]._replace(bias=bias), *policy.layers[1:])
    with pytest.raises(UserError, match=r"^--format c: a number is nan; expected finite ones$"):
        to_c(policy._replace(layers=layers))


def test_words_end_no_comment() -> None:
    policy = policy_of()._replace(about={"of": "*/ int main(void) { } /*\n#error"})
    source, _ = to_c(policy)
    assert source.count("*/") == source.count("/*") and "\n#error" not in source
