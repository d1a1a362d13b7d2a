"""The operators compute the same bits, however wide the vectors of the machine are."""

import platform
from pathlib import Path

import pytest
import torch

from snnrl.nn.neurons import make_neuron
from snnrl.nn.shape import LayerShape
from snnrl.ops.dynamics import FusedLayer
from snnrl.ops.native import calls
from snnrl.ops.native import library as module
from snnrl.ops.native.arguments import Events, InferenceLayer
from snnrl.ops.native.library import library

# With the feature of /proc/cpuinfo that a machine needs to run them.
LEVELS = {"x86-64": "sse2", "x86-64-v2": "sse4_2", "x86-64-v3": "avx2", "x86-64-v4": "avx512dq"}
SHAPES = [(5, 40, 100, 33), (1, 3, 7, 5), (3, 9, 300, 64)]


def events_of(events: Events) -> list[torch.Tensor]:
    rows = zip(events.starts.tolist(), events.counts.tolist(), strict=True)
    return [events.indices[start : start + count].int() for start, count in rows]


def results(kind: str) -> list[torch.Tensor]:
    """What the operators return for fixed inputs."""
    found: list[torch.Tensor] = []
    generator = torch.Generator().manual_seed(7)
    for steps, batch, features, inputs in SHAPES:

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        dynamics = make_neuron(kind, "rectangular", LayerShape(features, steps)).known()
        assert dynamics is not None
        x, gradient = normal(steps, batch, features), normal(steps, batch, features)
        layer = FusedLayer(None, 1 + normal(features), normal(features), 1e-5, dynamics)
        spikes, counts = torch.empty_like(x), torch.empty_like(x[0])
        events = Events.room_for(steps * batch, features)
        used = calls.normalised_forward(x, layer, spikes=spikes, events=events, counts=counts)
        found += [*used, spikes, counts, *events_of(events)]
        layer = layer._replace(statistics=used)
        found += calls.normalised_backward(x, layer, gradient, of_batch=True)
        found.append(calls.neuron_backward(x, gradient, dynamics))
        weight, drive = normal(inputs, features), normal(batch, inputs).abs()
        found.append(calls.event_product(events, weight, normal(inputs)))
        found.append(calls.event_gradient(events, gradient.flatten(0, 1)))
        encoded = Events.room_for(steps * batch, inputs)
        calls.encode(drive, steps, 0.999, encoded)
        found += events_of(encoded)
        first = InferenceLayer(normal(features, inputs), None, None, 1e-5, dynamics)
        found += [calls.infer(part, steps, 0.999, [first]) for part in (drive, drive[:1])]
    return found


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels of x86-64")
@pytest.mark.parametrize("level", LEVELS)
def test_every_width_computes_the_same_bits(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = Path("/proc/cpuinfo").read_text()
    if LEVELS[level] not in cpu:
        pytest.skip(f"this machine has no {LEVELS[level]}")
    expected = {kind: results(kind) for kind in ("lif", "clif")}
    flags = [f"-march={level}" if flag == "-march=native" else flag for flag in module.FLAGS]
    monkeypatch.setattr(module, "FLAGS", tuple(flags))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    try:
        for kind, values in expected.items():
            for before, after in zip(values, results(kind), strict=True):
                assert torch.equal(before, after)
    finally:
        library.cache_clear()
    assert list((tmp_path / "snnrl").glob("operators-*.so"))
