"""Other tools read the NIR file and spike as the policy does."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnrl.deploy.quantising import quantise
from snnrl.deploy.runtime import Array, Policy
from snnrl.deploy.targets import DIALECTS
from snnrl.deploy.to_nir import ends_of, to_nir
from snnrl.errors import UserError

from .policies import agent_of, observations, policy_of, spikes_of

nir = pytest.importorskip("nir")


def written(policy: Policy, folder: Path, target: str = "generic") -> Path:
    path = folder / "policy.nir"
    path.write_bytes(to_nir(policy, target))
    return path


def by_snntorch(path: Path) -> Callable[[torch.Tensor, Any], Any]:
    reader = pytest.importorskip("snntorch.import_nir")
    net = reader.import_from_nir(nir.read(path))
    return lambda x, state: net(x) if state is None else net(x, state)


def by_norse(path: Path) -> Callable[[torch.Tensor, Any], Any]:
    reader = pytest.importorskip("norse.torch.utils.import_nir")
    net: Callable[[torch.Tensor, Any], Any] = reader.from_nir(nir.read(path))
    return net


def by_spikingjelly(path: Path) -> Callable[[torch.Tensor, Any], Any]:
    reader = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    net: Callable[[torch.Tensor, Any], Any] = reader.import_from_nir(nir.read(path))
    return net


READERS = {"snntorch": by_snntorch, "norse": by_norse, "spikingjelly": by_spikingjelly}


@pytest.mark.parametrize("target", READERS)
@pytest.mark.parametrize("neuron", ["lif", "clif", "plif"])
def test_another_tool_spikes_alike(neuron: str, target: str, tmp_path: Path) -> None:
    policy, shown = policy_of("td3", (("neuron", neuron),)), observations(agent_of())
    path = written(policy, tmp_path, target)
    step, state, found = READERS[target](path), None, list[Array]()
    ends = ends_of(str(path))
    for spikes in ends.encode(shown):
        values, state = step(torch.tensor(spikes), state)
        found.append(values.detach().numpy())
    last = np.stack(found)
    expected = spikes_of(policy, shown)[-1]
    assert 0.02 < expected.mean() < 0.98
    # Rounding differs: a potential at the threshold may spike in one of them.
    assert (last != expected).any((0, 2)).sum() <= 1
    actions = ends.head.actions(ends.readout.read(last.astype(np.float32)))
    same = (last == expected).all((0, 2))
    np.testing.assert_allclose(actions[same], policy.act(shown)[same], atol=1e-5)


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("neuron", ["lif", "clif"])
def test_euler_steps_of_the_equations_are_the_neuron(neuron: str, target: str) -> None:
    """``tau dv/dt = (v_leak - v) + r I`` by Euler's method, from the file's numbers alone."""
    policy = policy_of("td3", (("neuron", neuron),))
    graph = nir.read(io.BytesIO(to_nir(policy, target)))
    dt, shown = DIALECTS[target].dt, observations(agent_of(), 50)
    spikes = policy.encode(shown)
    for i, layer in enumerate(policy.layers):
        affine, cells = graph.nodes[f"linear_{i}"], graph.nodes[f"neurons_{i}"]
        v, current, found = np.zeros((50, len(layer.weight))), 0.0, []
        for s in spikes:
            x = s @ affine.weight.T.astype(float) + affine.bias
            if neuron == "clif":
                current = current + dt / cells.tau_syn * (cells.w_in * x - current)
                v = v + dt / cells.tau_mem * (cells.v_leak - v + cells.r * current)
            else:
                v = v + dt / cells.tau * (cells.v_leak - v + cells.r * x)
            fired = v > cells.v_threshold
            v = np.where(fired, cells.v_reset, v)
            found.append(fired)
        expected = layer.fire(layer.currents(spikes))[0]
        assert (np.stack(found) != expected).sum() <= 1
        spikes = expected


@pytest.mark.parametrize(
    ("changes", "target", "message"),
    [
        ((("bn", "bntt"),), "generic", "layers.0 is normalised otherwise in each time step"),
        ((("neuron", "dn"),), "generic", "layers.0 has dynamic neurons"),
        ((("bn", "mpbn"),), "snntorch", "takes one threshold for a layer"),
        ((), "rockpool", "--target rockpool: its neurons lose the threshold at a spike"),
        ((), "snntorc", "did you mean 'snntorch'?"),
    ],
    ids=str,
)
def test_what_nir_does_not_express(changes: Any, target: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        to_nir(policy_of("td3", changes), target)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("constants", [dict(decay=1.0), dict(decay=0.5, current_decay=1.0)])
def test_neurons_without_leak(constants: dict[str, float]) -> None:
    policy = policy_of()
    neuron = "clif" if "current_decay" in constants else "lif"
    layer = policy.layers[0]._replace(neuron=neuron, constants=constants)
    with pytest.raises(UserError, match=r"layers\.0 has (neurons without leak|currents without)"):
        to_nir(policy._replace(layers=(layer, *policy.layers[1:])))


def test_integers_are_refused() -> None:
    with pytest.raises(UserError, match=r"^--format nir: its neurons are not of integers"):
        to_nir(quantise(policy_of()))


def test_thresholds_of_single_neurons(tmp_path: Path) -> None:
    policy = policy_of("td3", (("bn", "mpbn"),))
    graph = nir.read(written(policy, tmp_path, "norse"))
    np.testing.assert_allclose(graph.nodes["neurons_1"].v_threshold, policy.layers[1].threshold)


@pytest.mark.parametrize("content", [None, b"text"])
def test_no_nir_file(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "policy.nir"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"policy\.nir: is no NIR file \("):
        ends_of(str(path))


def test_a_graph_of_others_has_no_ends(tmp_path: Path) -> None:
    graph = nir.NIRGraph.from_list(nir.Affine(np.ones((2, 2)), np.zeros(2)))
    nir.write(tmp_path / "other.nir", graph)
    with pytest.raises(UserError, match=r"other\.nir: has no metadata of snnrl"):
        ends_of(str(tmp_path / "other.nir"))
