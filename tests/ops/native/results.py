"""What the native operators return for fixed inputs."""

import torch
from torch import Tensor

from snnrl.nn.neurons import make_neuron
from snnrl.nn.shape import LayerShape
from snnrl.ops.dynamics import FusedLayer
from snnrl.ops.native import calls, dense
from snnrl.ops.native.arguments import Events, InferenceLayer
from snnrl.ops.surrogate import Surrogate

SHAPES = [(5, 40, 100, 33), (1, 3, 7, 5), (3, 9, 300, 64), (2, 300, 20, 150)]


def events_of(events: Events) -> list[Tensor]:
    rows = zip(events.starts.tolist(), events.counts.tolist(), strict=True)
    return [events.indices[start : start + count].int() for start, count in rows]


def results(kind: str) -> list[Tensor]:
    """Values, events and gradients, in a fixed order, of every operator but the dense ones."""
    found: list[Tensor] = []
    generator = torch.Generator().manual_seed(7)
    for steps, batch, features, inputs in SHAPES:

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        dynamics = make_neuron(kind, "rectangular", LayerShape(features, steps)).known()
        assert dynamics is not None
        scales = tuple(1 + 0.1 * step for step in range(steps))
        learned = dynamics._replace(surrogate=Surrogate("learnable", scales))
        x, gradient = normal(steps, batch, features), normal(steps, batch, features)
        found.append(calls.neuron_forward(x, dynamics))
        found += calls.neuron_backward(x, gradient, learned, learns=True)
        found.append(calls.neuron_backward(x, gradient, dynamics, learns=False)[0])
        one, each = (1 + normal(features), normal(features)), normal(2, steps, features).unbind(0)
        for affine in (one, each):
            for per_step in (False, True):
                layer = FusedLayer(None, *affine, 1e-5, dynamics, per_step)
                spikes, counts = torch.empty_like(x), torch.empty_like(x[0])
                events = Events.room_for(steps * batch, features)
                written = {"spikes": spikes, "events": events, "counts": counts}
                used = calls.normalised_forward(x, layer, **written)
                found += [*used, spikes, counts, *events_of(events)]
                layer = layer._replace(statistics=used)
                of_batch = calls.normalised_backward(
                    x, layer, gradient, of_batch=True, learns=False
                )
                found += of_batch[:3]
                layer = layer._replace(dynamics=learned)
                found += calls.normalised_backward(x, layer, gradient, of_batch=True, learns=True)
        found += events_of(calls.find_events(spikes.flatten(0, 1)))
        weight, drive = normal(inputs, features), normal(batch, inputs).abs()
        found.append(calls.event_product(events, weight, normal(inputs)))
        found.append(calls.event_gradient(events, gradient.flatten(0, 1)))
        encoded = Events.room_for(steps * batch, inputs)
        calls.encode(drive, steps, 0.999, encoded)
        found += events_of(encoded)
        first = InferenceLayer(normal(features, inputs), None, None, 1e-5, dynamics)
        found += [calls.infer(part, steps, 0.999, [first]) for part in (drive, drive[:1])]
    return found


def dense_results() -> list[Tensor]:
    """Those of the dense operators."""
    generator = torch.Generator().manual_seed(8)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    found: list[Tensor] = []
    for batch in (1, 100, 300):
        x, sizes = normal(batch, 23), [(200, 23), (150, 200), (2, 150)]
        maps = [
            dense.Map(normal(*size), normal(size[0]), relu)
            for size, relu in zip(sizes, (True, False, True), strict=True)
        ]
        values = dense.values_of(x, maps)
        dx, dweights, gradients = dense.gradients_of(
            x, maps, values, normal(batch, 2), of_input=True, of_weights=[True] * 3
        )
        assert dx is not None
        found += [*values, dx, *(d for d in dweights if d is not None), *gradients]
        found.append(dense.product(normal(5, batch, 60), normal(60, 170)))
    # Shapes that BLAS cuts differently for four threads.
    x, gradient = normal(256, 23), normal(256, 256)
    maps = [dense.Map(normal(256, 23), normal(256), False)]
    dx, dweights, _ = dense.gradients_of(
        x, maps, [None], gradient, of_input=True, of_weights=[True]
    )
    assert dx is not None and dweights[0] is not None
    found += [*dense.values_of(x, maps), dx, dweights[0]]
    return found
