"""The runtime needs numpy alone, and reads what was written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnrl.deploy import runtime
from snnrl.deploy.quantising import quantise
from snnrl.deploy.runtime import Layer, load, save

from .policies import agent_of, observations, policy_of


def test_the_file_alone_acts_without_torch(tmp_path: Path) -> None:
    agent, policy = agent_of(), policy_of()
    shown = observations(agent, 20)
    shutil.copy(runtime.__file__, tmp_path / "runtime.py")
    save(policy, tmp_path / "policy.npz")
    np.save(tmp_path / "shown.npy", shown)
    program = (
        "import sys, numpy as np, runtime\n"
        "policy = runtime.load('policy.npz')\n"
        "np.save('actions.npy', policy.act(np.load('shown.npy')))\n"
        "print([name for name in ('torch', 'snnrl') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    usual = agent.predict(shown, deterministic=True)[0]
    np.testing.assert_allclose(np.load(tmp_path / "actions.npy"), usual, rtol=0, atol=2e-5)


def test_one_observation_and_several() -> None:
    policy, shown = policy_of(), observations(agent_of(), 5)
    actions = policy.act(shown)
    assert actions.shape == (5, *policy.action_shape)
    for one, action in zip(shown, actions, strict=True):
        np.testing.assert_allclose(policy.act(one), action, atol=1e-6)
    assert policy_of("dqn").act(observations(agent_of("dqn"), 1)[0]).shape == ()


@pytest.mark.parametrize("shape", [(), (7,), (2, 7), (2, 2, 3)])
def test_observations_of_another_shape(shape: tuple[int, ...]) -> None:
    policy = policy_of()
    assert policy.observation_shape not in ((7,), ())
    with pytest.raises(ValueError, match=r"^observation of shape \(.*\): expected \(\d,\), or sev"):
        policy.act(np.zeros(shape))


@pytest.mark.parametrize("integers", [False, True])
def test_a_file_holds_every_number(integers: bool, tmp_path: Path) -> None:
    policy = quantise(policy_of()) if integers else policy_of()
    save(policy, tmp_path / "policy.npz")
    again = load(tmp_path / "policy.npz")
    for one, other in zip(policy.layers, again.layers, strict=True):
        assert type(one) is type(other)
        for key, value in one._asdict().items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(getattr(other, key)))
    for part in ("encoder", "readout", "head"):
        ours, theirs = getattr(policy, part), getattr(again, part)
        assert type(ours) is type(theirs)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert again[:4] == policy[:4] and dict(again.about) == dict(policy.about)


def changed(path: Path, **arrays: Any) -> Path:
    with np.load(path) as file:
        found = {name: file[name] for name in file.files} | arrays
    np.savez(path, **{name: value for name, value in found.items() if value is not None})
    return path


@pytest.mark.parametrize("damage", ["text", "short", "format", "lacks", "empty"])
def test_a_file_that_is_none(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    save(policy_of(), path)
    if damage == "text":
        path.write_text("no arrays")
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "format":
        changed(path, about=np.array(json.dumps({"format": 99, "policy": {}})))
    else:
        changed(path, **{"policy.layers.0.weight": None})
    with pytest.raises(ValueError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: is no exported policy (")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        dict(policy=[]),
        dict(policy="x"),
        dict(encoder=None),
        dict(layers=[]),
        dict(time_steps=10**15),
        dict(time_steps="5"),
        dict(neuron="other"),
        dict(threshold={"array": "policy.encoder.mean"}),
    ],
    ids=str,
)
def test_contents_that_are_none(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    save(policy_of(), path)
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
    for key, value in changes.items():
        if key == "policy":
            about["policy"] = value
        elif key in ("neuron", "threshold"):
            about["policy"]["layers"][0][key] = value
        else:
            about["policy"][key] = value
    changed(path, about=np.array(json.dumps(about)))
    with pytest.raises(ValueError, match=r"is no exported policy \("):
        load(path)


def test_nothing_to_act_on() -> None:
    policy = policy_of()
    assert policy.act(np.zeros((0, *policy.observation_shape))).shape == (0, *policy.action_shape)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file; expected an exported policy \(\.npz\)$"):
        load(tmp_path / "policy.npz")


def test_lif_by_hand() -> None:
    weight, threshold = np.eye(2, dtype=np.float32), np.array([0.5, 0.9], np.float32)
    layer = Layer(weight, np.zeros(2, np.float32), None, threshold, "lif", {"decay": 0.5})
    inputs = np.full((4, 1, 2), 0.4, np.float32)
    spikes, membranes = layer.fire(layer.currents(inputs))
    # 0.4, 0.6 and a spike, 0.4, 0.6 and a spike; the other neuron never reaches 0.8.
    np.testing.assert_allclose(membranes[:, 0, 0], [0.4, 0.6, 0.4, 0.6], atol=1e-6)
    np.testing.assert_array_equal(spikes[:, 0, 0], [0, 1, 0, 1])
    np.testing.assert_allclose(membranes[:, 0, 1], [0.4, 0.6, 0.7, 0.75], atol=1e-6)
    assert spikes[:, 0, 1].sum() == 0
