"""Networks that leave early: where, and what they compute of the steps they take."""

import copy

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.early_exit import exit_step, leaving_after, relative_gammas
from snnrl.nn.lateral import LATERALS
from snnrl.nn.norm import recalibrating
from tests.nn.networks import images, observations, tiny, tiny_conv


def with_gammas(network, rows):
    """Set the gammas of each layer's steps; those of a step differ, and their mean is given."""
    for layer, row in zip(network.stack(), rows, strict=True):
        gamma = layer.norm.gamma
        spread = torch.linspace(-0.5, 0.5, gamma.shape[1])
        with torch.no_grad():
            gamma.copy_(torch.tensor(row)[:, None] * (1 + spread))
    return network


def trained(network, batches=4):
    """Statistics of each step that differ."""
    for seed in range(batches):
        network.train()(observations(seed) if network.encoder.features != 84 else images(seed))
    return network.eval()


# The threshold is 0.5, so a gamma of 0.05 is 0.1 thresholds.
@pytest.mark.parametrize(
    ("rows", "limit", "expected"),
    [
        ([[0.3, 0.3, 0.3, 0.3]] * 3, 0.1, 4),
        ([[0.3, 0.3, 0.04, 0.3]] * 3, 0.1, 2),
        # Not in every layer at once before the last step.
        ([[0.3, 0.04, 0.3, 0.04], [0.3, 0.3, 0.04, 0.04], [0.04] * 4], 0.1, 3),
        # At least one step.
        ([[0.01] * 4] * 3, 0.1, 1),
        ([[0.01, 0.3, 0.3, 0.3]] * 3, 0.1, 1),
        ([[0.3, 0.3, 0.3, 0.04]] * 3, 0.07, 4),
        ([[0.3, 0.2, 0.1, 0.04]] * 3, 0.5, 1),
        ([[0.3, 0.2, 0.1, 0.04]] * 3, 0.3, 2),
        # A mean below zero is below any limit.
        ([[0.3, 0.3, -0.3, 0.3]] * 3, 0.1, 2),
    ],
)
def test_steps_by_hand(rows, limit, expected):
    network = with_gammas(tiny("bntt"), rows)
    assert exit_step(network, limit) == expected
    torch.testing.assert_close(relative_gammas(network), torch.tensor(rows) / 0.5)


def test_the_threshold_is_the_one_in_force():
    network = with_gammas(tiny("bntt", neuron=dict(name="lif", threshold=2.0)), [[0.19] * 4] * 3)
    assert exit_step(network) == 1
    network = with_gammas(tiny("bntt", neuron=dict(name="lif", threshold=0.4)), [[0.19] * 4] * 3)
    assert exit_step(network) == 4


def by_a_loop(network, x, steps):
    """Spikes of the last layer, added up step after step, ``[B, N]``."""
    spikes = network.encoder(x)
    states = [None] * len(network.layers)
    total = 0
    for t in range(steps):
        s = spikes[t : t + 1]
        for i, layer in enumerate(network.layers):
            norm = layer.norm
            y = (layer.linear(s) - norm.moving_mean[t]) / (norm.moving_var[t] + norm.eps).sqrt()
            s, states[i] = layer.neuron(y * norm.gamma[t], states[i])
        total = total + s[0]
    return total


@pytest.mark.quick_cases(10)
@pytest.mark.parametrize("encoder", ["direct", "population", "latency", "poisson"])
@pytest.mark.parametrize("kernel", ["naive", "native"])
@pytest.mark.parametrize("neuron", ["lif", "clif"])
def test_a_shortened_network_is_a_loop_over_its_first_steps(neuron, kernel, encoder):
    network = trained(tiny("bntt", kernel=kernel, encoder=encoder, neuron=neuron, time_steps=5))
    x = observations(9)
    for steps in (1, 3, 5):
        counts = by_a_loop(network, x, steps)
        # Rates over all steps, those that are left out without a spike.
        rates = (counts / 5).unflatten(1, network.decoder.weight.shape)
        expected = (rates * network.decoder.weight).sum(-1) + network.decoder.bias
        with leaving_after(network, steps), torch.no_grad():
            torch.testing.assert_close(network(x), expected)
        # The pass with gradients uses other operators.
        with leaving_after(network, steps):
            torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("kernel", ["naive", "native"])
def test_leaving_silent_steps_out_changes_nothing(kernel):
    network = trained(tiny("bntt", kernel=kernel, readout="linear", encoder="direct"))
    with_gammas(network, [[1.5, 1.5, 0.0, 0.0]] * 2)
    assert exit_step(network) == 2
    whole = network(observations())
    with leaving_after(network, 2):
        assert torch.equal(network(observations()), whole)
    with leaving_after(network, 1):
        assert not torch.equal(network(observations()), whole)


@pytest.mark.parametrize("kernel", ["naive", "native"])
def test_convolutions_leave_early_too(kernel):
    network = trained(tiny_conv("bntt", kernel=kernel))
    with_gammas(network, [[0.5, 0.5, 0.5, 0.0]] * 3)
    assert exit_step(network) == 3
    whole = network(images())
    with leaving_after(network, 3):
        torch.testing.assert_close(network(images()), whole)


@pytest.mark.slow
def test_compiled():
    naive, compiled = (trained(tiny("bntt", kernel=kernel)) for kernel in ("naive", "compile"))
    for steps in (2, 4):
        with leaving_after(naive, steps), leaving_after(compiled, steps), torch.no_grad():
            torch.testing.assert_close(compiled(observations()), naive(observations()))


def test_everything_is_as_it_was_afterwards():
    network = trained(tiny("bntt"))
    before = copy.deepcopy(network.state_dict())
    weights = list(network.parameters())
    expected = network(observations())
    with pytest.raises(ZeroDivisionError), leaving_after(network, 2):
        1 / 0  # noqa: B018
    assert all(a is b for a, b in zip(network.parameters(), weights, strict=True))
    assert before.keys() == network.state_dict().keys()
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network(observations()), expected)


def test_learning_is_refused_and_a_recalibration_reaches_the_steps_taken():
    network = trained(tiny("bntt"))
    mean = network.layers[0].norm.moving_mean.clone()
    with leaving_after(network, 2):
        with pytest.raises(UserError, match=r"^early exit: is for acting; expected learning out"):
            network.train()(observations())
        with recalibrating(network):
            network(observations(5))
    moved = (network.layers[0].norm.moving_mean != mean).any(1)
    assert moved.tolist() == [True, True, False, False]


@pytest.mark.parametrize("bn", ["carebn", "none", "layernorm", "tebn"])
def test_only_with_bntt(bn):
    with pytest.raises(UserError, match=r"^early exit: .*; expected an agent trained with bn=bntt"):
        exit_step(tiny(bn))


@pytest.mark.parametrize("variant", LATERALS)
def test_connections_with_a_bias_are_refused(variant):
    network = tiny("bntt", lateral=variant)
    if not LATERALS[variant].biased:
        assert exit_step(network) == 4
        return
    for use in (exit_step, relative_gammas, lambda n: leaving_after(n, 2).__enter__()):
        with pytest.raises(UserError, match=rf"^early exit: lateral={variant} adds a bias in .*"):
            use(network)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none(limit):
    with pytest.raises(UserError, match=r"^early exit limit="):
        exit_step(tiny("bntt"), limit)
