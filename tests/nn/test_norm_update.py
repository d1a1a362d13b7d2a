"""The layer and its update rules, with numbers by hand."""

import pytest
import torch

from snnrl.nn.norm import make_strategy
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.norm.ema import ExponentialUpdate
from snnrl.nn.norm.none import NoNorm

from .parts import make_norm

STRATEGIES = ["vanilla", "carebn", "ca_only", "re_only"]


def layer_of(bn, features=1):
    return make_norm(bn, features)


def series(*values):
    """One feature, ``[T=2, B, 1]``."""
    return torch.tensor(values).reshape(2, -1, 1)


def random_input(seed=0, batch=16, features=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, batch, features, generator=generator) * 2 + 1


def test_statistics_are_pooled_over_time_and_batch_and_biased():
    layer = layer_of(dict(name="vanilla", momentum=1.0))
    layer(series(1.0, 3.0, 5.0, 7.0))
    assert layer.moving_mean.item() == 4.0
    assert layer.moving_var.item() == 5.0


def test_vanilla_is_an_exponential_moving_average():
    layer = layer_of("vanilla")
    layer(series(1.0, 3.0, 5.0, 7.0))  # mean 4, variance 5
    assert layer.moving_mean.item() == pytest.approx(0.4)
    assert layer.moving_var.item() == pytest.approx(1.4)
    layer(series(2.0, 2.0, 4.0, 4.0))  # mean 3, variance 1
    assert layer.moving_mean.item() == pytest.approx(0.66)
    assert layer.moving_var.item() == pytest.approx(1.36)


def test_training_normalises_with_the_batch_and_evaluation_with_the_moving_ones():
    layer = layer_of("vanilla")
    x = series(1.0, 3.0, 5.0, 7.0)
    expected = 0.25 * (x - 4) / (5 + 1e-5) ** 0.5 + 0.25
    torch.testing.assert_close(layer(x), expected)
    layer.eval()
    expected = 0.25 * (x - 0.4) / (1.4 + 1e-5) ** 0.5 + 0.25
    torch.testing.assert_close(layer(x), expected)
    assert layer.moving_mean.item() == pytest.approx(0.4)


# The batch has mean 4 and variance 5, the moving ones are 0 and 1: both deviations are 4. Its
# size is 2, so that it counts as one observation unless said otherwise.
@pytest.mark.parametrize(("effective_n", "n"), [(None, 1), (8, 8), (0.5, 0.5)])
def test_confidence_update(effective_n, n):
    layer = layer_of(dict(name="carebn", effective_n=effective_n))
    layer(series(1.0, 3.0, 5.0, 7.0))
    prior = 0.2 * 16
    gain_mean = prior / (prior + 5 / n)
    gain_var = prior / (prior + 2 * 25 / n)
    assert layer.moving_mean.item() == pytest.approx(4 * gain_mean)
    assert layer.moving_var.item() == pytest.approx(1 + 4 * gain_var)
    assert layer.update.gain_mean.item() == pytest.approx(gain_mean)
    assert layer.update.gain_var.item() == pytest.approx(gain_var)
    assert layer.update.prior_mean.item() == pytest.approx(prior)

    layer(series(2.0, 2.0, 4.0, 4.0))  # mean 3, variance 1
    delta = 3 - 4 * gain_mean
    prior = 0.8 * prior + 0.2 * delta**2
    gain = prior / (prior + 1 / n)
    assert layer.update.prior_mean.item() == pytest.approx(prior)
    assert layer.moving_mean.item() == pytest.approx(4 * gain_mean + gain * delta)


def test_effective_n_is_the_batch_size_less_one_whatever_the_time_steps():
    gains = []
    for effective_n in (None, 15):
        layer = layer_of(dict(name="carebn", effective_n=effective_n), features=3)
        layer(random_input(batch=16))
        gains.append(layer.update.gain_mean)
    assert torch.equal(*gains)


def test_a_batch_of_one_counts_as_one_observation():
    layer = layer_of("carebn", features=3)
    layer(random_input(batch=1))
    assert all(torch.isfinite(buffer).all() for buffer in layer.buffers())


@pytest.mark.parametrize("bn", STRATEGIES)
def test_constant_input_gives_no_nan(bn):
    layer = layer_of(bn, features=2)
    layer.moving_var.zero_()
    x = torch.zeros(3, 8, 2, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(y, torch.full_like(y, 0.25))
    for tensor in (*layer.buffers(), x.grad, layer.gamma.grad, layer.beta.grad):
        assert torch.isfinite(tensor).all()


def test_where_nothing_deviates_and_nothing_varies_the_gain_is_zero():
    layer = layer_of("carebn", features=2)
    layer.moving_var.zero_()
    x = torch.zeros(3, 8, 2)
    x[..., 1] = torch.linspace(-1, 1, 24).reshape(3, 8)
    layer(x)
    assert layer.update.gain_mean[0] == layer.update.gain_var[0] == 0
    assert layer.update.gain_var[1] > 0
    assert layer.moving_mean[0] == layer.moving_var[0] == 0


@pytest.mark.parametrize("bn", STRATEGIES)
def test_gradients_flow_through_the_batch_statistics(bn):
    layer = layer_of(bn, features=2).double()
    x = random_input(features=2, batch=3).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("bn", STRATEGIES)
def test_statistics_are_updated_in_place_and_outside_the_graph(bn):
    layer = layer_of(bn, features=3)
    addresses = {name: buffer.data_ptr() for name, buffer in layer.named_buffers()}
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    layer(random_input())
    for name, buffer in layer.named_buffers():
        assert buffer.data_ptr() == addresses[name], name
        assert not torch.equal(buffer, before[name]), name
        assert not buffer.requires_grad


@pytest.mark.parametrize("bn", STRATEGIES)
def test_the_state_dict_holds_all_that_an_update_needs(bn):
    layer, copy = layer_of(bn, features=3), layer_of(bn, features=3)
    for seed in range(3):
        layer(random_input(seed))
    state = layer.state_dict()
    assert {"moving_mean", "moving_var"} <= state.keys()
    confidence = {"update.prior_mean", "update.prior_var"}
    if bn in ("carebn", "ca_only"):
        assert confidence <= state.keys()
    copy.load_state_dict(state)
    assert torch.equal(layer(random_input(7)), copy(random_input(7)))
    for name, buffer in copy.named_buffers():
        assert torch.equal(buffer, layer.get_buffer(name)), name


def test_the_named_strategies_are_these_parts():
    rules = {
        name: (type(layer_of(name).update), make_strategy(name).recalibrate_every is not None)
        for name in STRATEGIES
    }
    assert rules == {
        "vanilla": (ExponentialUpdate, False),
        "re_only": (ExponentialUpdate, True),
        "ca_only": (ConfidenceUpdate, False),
        "carebn": (ConfidenceUpdate, True),
    }
    assert isinstance(layer_of("none"), NoNorm)
