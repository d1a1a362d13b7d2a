"""What neurons and surrogates learn gets its gradient from the fused operators, too."""

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.ops import native, triton
from snnrl.ops.clif import CLIFConstants
from snnrl.ops.dynamics import Dynamics, FusedLayer, run
from snnrl.ops.lif import LIFConstants
from snnrl.ops.surrogate import Surrogate

SHAPES = [(5, 37, 200), (4, 3, 7), (2, 90, 64), (1, 2, 130)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def leaves(steps: int) -> tuple[Tensor, Tensor]:
    """A decay and a slope for each time step."""
    return torch.tensor(0.7, requires_grad=True), torch.linspace(1, 3, steps).requires_grad_()


def learning(decay: Tensor | float, slope: Tensor | float, detach_reset: bool = False) -> Dynamics:
    surrogate = Surrogate("rectangular" if isinstance(slope, float) else "learnable", slope)
    return Dynamics("lif", 0.5, surrogate, detach_reset, LIFConstants(decay))


def normalised(x: Tensor, layer: FusedLayer) -> Tensor:
    """Spikes by torch and the naive neurons."""
    mean, var = layer.statistics or (x.mean((0, 1)), x.var((0, 1), correction=0))
    y = (x - mean) / torch.sqrt(var + layer.eps) * layer.gamma + layer.beta
    return run(y, layer.dynamics)[0]


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for value, other in zip(found, expected, strict=True):
        # Sums over all neurons: compared with what they are made of.
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-4 * (1 + other.abs().max()))


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("learns", ["decay", "slope", "both"])
@pytest.mark.parametrize("shape", SHAPES)
def test_neuron(shape: tuple[int, ...], learns: str, detach_reset: bool) -> None:
    results = []
    for fire in (lambda x, d: run(x, d)[0], native.neuron):
        x, (decay, slopes) = normal(*shape).requires_grad_(), leaves(shape[0])
        given = (decay if learns != "slope" else 0.7, slopes if learns != "decay" else 0.5)
        spikes = fire(x, learning(*given, detach_reset))
        spikes.backward(normal(*shape, seed=1))
        wanted = [each.grad for each in (x, *given) if isinstance(each, Tensor)]
        results.append([spikes.detach(), *wanted])
    assert torch.equal(results[0][0], results[1][0])
    assert len(results[0]) == (4 if learns == "both" else 3)
    assert all(shape[0] == 1 or gradient.abs().max() > 0 for gradient in results[0])
    assert_close(results[1], results[0])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("operator", ["normalised_neuron", "fire_linear", "fire_counts"])
@pytest.mark.parametrize("shape", SHAPES)
def test_normalised_neurons(shape: tuple[int, ...], operator: str, given: bool) -> None:
    features = shape[-1]
    statistics = (normal(features, seed=2) / 5, 1 + normal(features, seed=3) ** 2)
    weight, results = normal(11, features, seed=4), []
    for fused in (False, True):
        x, (decay, slopes) = normal(*shape).requires_grad_(), leaves(shape[0])
        gamma, beta = (torch.full((features,), v).requires_grad_() for v in (0.8, 0.3))
        layer = FusedLayer(
            statistics if given else None, gamma, beta, 1e-5, learning(decay, slopes)
        )
        if not fused:
            value = normalised(x, layer)
            if operator == "fire_linear":
                value = value @ weight.T
            elif operator == "fire_counts":
                value = value.sum(0)
        elif operator == "fire_linear":
            value = native.fire_linear(x, layer, weight, None)[0]
        else:
            value = getattr(native, operator)(x, layer)[0]
        value.backward(normal(*value.shape, seed=1))
        results.append([value.detach(), *(leaf.grad for leaf in (x, gamma, beta, decay, slopes))])
    assert_close(results[1], results[0])


def test_constants_of_other_neurons_get_none() -> None:
    constants = CLIFConstants(torch.tensor(0.5, requires_grad=True), 0.7)
    dynamics = Dynamics("clif", 0.5, Surrogate("rectangular", 0.5), False, constants)
    with pytest.raises(
        UserError, match=r"^kernel=native: cannot compute the gradient of the const"
    ):
        native.neuron(normal(2, 3, 4), dynamics)


def test_scales_of_other_surrogates_get_none() -> None:
    scales = torch.ones(2, requires_grad=True)
    dynamics = Dynamics("lif", 0.5, Surrogate("tanh", scales), False, LIFConstants(0.7))
    with pytest.raises(UserError, match=r"^kernel=native: .* a surrogate; expected "):
        native.neuron(normal(2, 3, 4), dynamics)


def test_a_scale_for_each_of_fewer_steps() -> None:
    x = normal(3, 3, 4).requires_grad_()
    spikes = native.neuron(x, learning(0.7, torch.ones(2, requires_grad=True)))
    with pytest.raises(ValueError, match="a scale for each of 3 time steps, not 2"):
        spikes.sum().backward()


def test_triton_has_no_such_gradient() -> None:
    assert not triton.LEARNS
    with pytest.raises(UserError, match=r"^kernel=triton: "):
        triton.register.pack(learning(*leaves(2)), torch.device("cpu"))
