"""Normalisations by their equations, with numbers from elsewhere than their own code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.norm import BatchNorm, make_strategy, norm_layers, recalibrating
from snnrl.nn.norm.renorm import BatchRenorm

from .networks import observations, tiny
from .parts import NORMS, make_norm

DENSE, IMAGES = (5, 8, 4), (5, 8, 4, 3, 2)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.mark.parametrize("shape", [DENSE, IMAGES])
@pytest.mark.parametrize("bn", NORMS)
def test_gradients_are_those_of_the_value(bn: str, shape: tuple[int, ...]) -> None:
    layer = make_norm(bn, 4).double()
    x = draw(*shape).double()[: 1 if layer.of_membranes else None].requires_grad_()
    parameters = list(layer.parameters())
    torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters), fast_mode=True)
    layer.eval()
    torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters), fast_mode=True)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bn", NORMS)
def test_a_network_learns_with_it(bn: str) -> None:
    network = tiny(bn, hidden=[32, 32], population=10)
    x = observations(batch=64)
    target = torch.stack([x[:, 0].sign(), x[:, 1] * x[:, 2]], dim=1).clamp(-1, 1) / 2
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    start = {name: p.clone() for name, p in network.named_parameters()}
    losses = []
    for _ in range(60):
        loss = (network(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]
    own = {name for name in start if ".norm." in name}
    assert all(not torch.equal(network.get_parameter(name), start[name]) for name in own)


def test_tab_has_the_statistics_of_the_steps_so_far() -> None:
    x = draw(*IMAGES)
    mean, var = make_norm("tab", 4).statistics(x)
    for step in range(len(x)):
        seen = x[: step + 1].transpose(0, 2).flatten(1)
        torch.testing.assert_close(mean[step], seen.mean(1))
        torch.testing.assert_close(var[step], seen.var(1, correction=0))


def renorm(**changes: object) -> BatchRenorm:
    layer = make_norm(dict(name="renorm", warmup=0, **changes), 4)
    layer.moving_mean.copy_(torch.tensor([0.5, 9.0, 1.0, 1.0]))
    layer.moving_var.copy_(torch.tensor([4.0, 0.01, 900.0, 3.0]))
    return layer


def test_renormalisation_within_its_bounds_has_the_value_of_the_moving_statistics() -> None:
    layer, x = renorm(), draw(*DENSE)
    mean, var = x.mean((0, 1)), x.var((0, 1), correction=0)
    y = layer(x)
    sd, moving_sd = (var + 1e-3).sqrt(), torch.tensor([4.0, 0.01, 900.0, 3.0]).add(1e-3).sqrt()
    moving_mean = torch.tensor([0.5, 9.0, 1.0, 1.0])
    ratio, shift = sd / moving_sd, (mean - moving_mean) / moving_sd
    # The second is beyond both upper bounds, the third beyond the lower one of r.
    assert ratio[1] > 3 and shift[1] < -5 and ratio[2] < 1 / 3
    ratio, shift = ratio.clamp(1 / 3, 3), shift.clamp(-5, 5)
    torch.testing.assert_close(y, ((x - mean) / sd * ratio + shift) * 0.25 + 0.25)
    inside = (x - moving_mean) / moving_sd * 0.25 + 0.25
    torch.testing.assert_close(y[..., [0, 3]], inside[..., [0, 3]])
    assert not torch.allclose(y[..., 1], inside[..., 1])


def test_renormalisation_moves_its_statistics_slowly() -> None:
    layer, x = renorm(), draw(*DENSE)
    before = layer.moving_mean.clone()
    layer(x)
    torch.testing.assert_close(layer.moving_mean, 0.99 * before + 0.01 * x.mean((0, 1)))
    assert layer.eps == 1e-3
    assert make_strategy("renorm").settings()["warmup"] == 100_000


def test_renormalisation_starts_as_plain_batch_normalisation() -> None:
    layer = make_norm(dict(name="renorm", warmup=2), 4)
    plain = make_norm(dict(name="vanilla", momentum=0.01, eps=1e-3), 4)
    for step in range(4):
        x = draw(*DENSE, seed=step)
        assert torch.equal(layer(x), plain(x)) is (step < 2)
    assert layer.passes == 4
    layer.eval()(x)
    assert layer.passes == 4


def test_the_pass_counter_of_a_renormalisation_is_saved() -> None:
    layer, other = renorm(), renorm()
    layer(draw(*DENSE))
    other.load_state_dict(layer.state_dict())
    assert other.passes == 1


def by_hand(network: torch.nn.Module, x: Tensor, norms: list[BatchNorm], learns: bool) -> Tensor:
    """A network of LIF neurons with normalised membranes, in a loop over time steps."""
    spikes = network.encoder(x)
    for layer, norm in zip(network.layers, norms, strict=True):
        currents, out = layer.linear(spikes), []
        v, s = torch.zeros_like(currents[0]), torch.zeros_like(currents[0])
        for current in currents:
            v = 0.75 * v * (1 - s) + current
            mean, var = (v.mean(0), v.var(0, correction=0)) if learns else (0.3, 0.5)
            normalised = (v - mean) / (var + 1e-5) ** 0.5 * norm.gamma + norm.beta
            s = (normalised > 0.5).float()
            out.append(s)
        spikes = torch.stack(out)
    return network.decoder(spikes)


@pytest.mark.parametrize("learns", [True, False])
def test_normalised_membranes_fire_and_the_others_are_reset(learns: bool) -> None:
    network = tiny("mpbn").train(learns)
    norms = norm_layers(network)
    assert len(norms) == 3
    for norm in norms:
        norm.moving_mean.fill_(0.3), norm.moving_var.fill_(0.5)
    torch.testing.assert_close(
        network(observations()), by_hand(network, observations(), norms, learns)
    )


def test_statistics_of_membranes_move_once_a_step() -> None:
    network = tiny("mpbn", hidden=[])
    norm, seen = norm_layers(network)[0], []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].detach()))
    network(observations())
    assert len(seen) == 4
    expected = torch.zeros(6)
    for membrane in seen:
        expected = 0.9 * expected + 0.1 * membrane.mean(0)
    torch.testing.assert_close(norm.moving_mean, expected)


def test_statistics_of_membranes_are_recalibrated_over_all_steps() -> None:
    network = tiny("mpbn", hidden=[])
    norm, seen = norm_layers(network)[0], []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with recalibrating(network):
        network(observations())
        network(observations(seed=1))
    together = torch.cat(seen)
    assert len(together) == 2 * 4 * 32
    torch.testing.assert_close(norm.moving_mean, together.mean(0))
    torch.testing.assert_close(norm.moving_var, together.var(0, correction=0))


def test_a_rule_takes_the_membranes_of_an_input_for_one() -> None:
    network = tiny(dict(name="mpbn", rule="confidence"), hidden=[])
    norm, sizes = norm_layers(network)[0], []
    norm.update.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[4]))
    with recalibrating(network, by_rule=True):
        network(observations())
        network(observations(seed=1))
    network(observations())
    assert sizes == [64, 32, 32, 32, 32]


def test_normalised_membranes_have_no_fused_operator() -> None:
    network = tiny("mpbn", kernel="auto")
    network(observations())
    assert network.kernel == "naive"
    with pytest.raises(UserError, match=r"^kernel=native: .*normalisation; expected kernel="):
        tiny("mpbn", kernel="native")


@pytest.mark.slow
def test_normalised_membranes_compiled() -> None:
    naive, compiled = tiny("mpbn"), tiny("mpbn", kernel="compile")
    x = observations()
    values = [network(x) for network in (naive, compiled)]
    torch.testing.assert_close(*values)
    for value in values:
        value.square().sum().backward()
    for name, p in naive.named_parameters():
        torch.testing.assert_close(compiled.get_parameter(name).grad, p.grad, atol=1e-4, rtol=1e-3)
    for name, buffer in naive.named_buffers():
        torch.testing.assert_close(compiled.get_buffer(name), buffer)


@pytest.mark.parametrize("shape", [DENSE, IMAGES])
def test_groups(shape: tuple[int, ...]) -> None:
    x = draw(*shape)
    y = make_norm(dict(name="groupnorm", groups=2), 4)(x)
    for group in (slice(0, 2), slice(2, 4)):
        part = x[:, :, group]
        dims = tuple(range(2, x.dim()))
        mean, var = part.mean(dims, keepdim=True), part.var(dims, correction=0, keepdim=True)
        expected = (part - mean) / (var + 1e-5).sqrt() * 0.25 + 0.25
        torch.testing.assert_close(y[:, :, group], expected, rtol=1e-4, atol=1e-5)
    whole = make_norm(dict(name="groupnorm", groups=1), 4)(x)
    torch.testing.assert_close(whole, make_norm("layernorm", 4)(x))


def test_groups_that_do_not_divide_a_layer() -> None:
    with pytest.raises(UserError, match=r"^bn.groups=5: .*12 features; expected one of 1, 2, 3, 4"):
        tiny(dict(name="groupnorm", groups=5))
