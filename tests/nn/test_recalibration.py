import pytest
import torch

from snnrl.nn.norm import norm_layers, recalibrating

from .networks import observations, tiny
from .parts import make_norm


def random_inputs():
    """Batches of different sizes, means and deviations, each ``[T, B, 3]``."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(8, 0.0, 1.0), (16, 2.0, 0.5), (3, -1.0, 3.0)]
    return [torch.randn(4, b, 3, generator=generator) * sd + mean for b, mean, sd in sizes]


def statistics(network):
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def assert_unchanged(network, before):
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bn", ["vanilla", "carebn"])
def test_it_gives_the_statistics_of_all_batches_together(bn, training):
    layer = make_norm(bn, 3).train(training)
    batches = random_inputs()
    confidence = statistics(layer.update)
    addresses = layer.moving_mean.data_ptr(), layer.moving_var.data_ptr()
    with recalibrating(layer):
        for x in batches:
            layer(x)
    var, mean = torch.var_mean(torch.cat(batches, dim=1), dim=(0, 1), correction=0)
    torch.testing.assert_close(layer.moving_mean, mean)
    torch.testing.assert_close(layer.moving_var, var)
    assert (layer.moving_mean.data_ptr(), layer.moving_var.data_ptr()) == addresses
    assert_unchanged(layer.update, confidence)
    assert layer.training is training


def test_each_batch_is_normalised_with_the_statistics_so_far():
    layer = make_norm("carebn", 3).eval()
    batches = random_inputs()
    with recalibrating(layer):
        for k, x in enumerate(batches):
            var, mean = torch.var_mean(torch.cat(batches[: k + 1], 1), dim=(0, 1), correction=0)
            torch.testing.assert_close(layer(x), 0.25 * (x - mean) / (var + 1e-5).sqrt() + 0.25)


def test_every_layer_of_a_network_gets_the_statistics_of_what_it_saw():
    network = tiny().eval()
    seen = [[] for _ in network.layers]
    for layer, inputs in zip(network.layers, seen, strict=True):
        layer.norm.register_forward_pre_hook(lambda _, x, to=inputs: to.append(x[0]))
    with recalibrating(network):
        for seed in range(3):
            network(observations(seed))
    for layer, inputs in zip(network.layers, seen, strict=True):
        var, mean = torch.var_mean(torch.cat(inputs, 1), dim=(0, 1), correction=0)
        torch.testing.assert_close(layer.norm.moving_mean, mean)
        torch.testing.assert_close(layer.norm.moving_var, var)


def test_an_exception_inside_changes_nothing():
    network = tiny()
    network(observations())
    before = statistics(network)
    with pytest.raises(KeyboardInterrupt), recalibrating(network):
        network(observations(1))
        raise KeyboardInterrupt
    assert_unchanged(network, before)
    # Nor does it leave the layers accumulating.
    network.eval()
    expected = network(observations(2))
    network(observations(3))
    assert torch.equal(network(observations(2)), expected)


def test_no_batch_changes_nothing():
    network = tiny()
    network(observations())
    before = statistics(network)
    with recalibrating(network):
        pass
    assert_unchanged(network, before)


def test_it_builds_no_graph_and_training_goes_on_after():
    network = tiny()
    with recalibrating(network):
        assert not network(observations()).requires_grad
    moving = norm_layers(network)[0].moving_mean.clone()
    assert network(observations(1)).requires_grad
    assert not torch.equal(norm_layers(network)[0].moving_mean, moving)


def by_rule(bn, batches, **changes):
    """A layer that was moved by its rule at the end of a re-calibration, and what it was before."""
    layer, other = (make_norm(dict(name=bn, **changes), 3) for _ in range(2))
    first = random_inputs()[1] * 3
    layer(first)
    other(first)
    with recalibrating(layer, by_rule=True):
        for x in batches:
            layer(x)
    return layer, other


@pytest.mark.parametrize("bn", ["vanilla", "ca_only", "re_only", "carebn"])
def test_by_rule_it_is_one_update_with_the_pooled_statistics(bn):
    batches = random_inputs()
    layer, other = by_rule(bn, batches)
    other(torch.cat(batches, dim=1))  # 27 inputs as one batch, which counts as 26 observations
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(layer.get_buffer(name), buffer, msg=name)


def test_by_rule_the_moving_average_by_hand():
    batches = random_inputs()
    layer, other = by_rule("vanilla", batches)
    var, mean = torch.var_mean(torch.cat(batches, dim=1), dim=(0, 1), correction=0)
    torch.testing.assert_close(layer.moving_mean, 0.9 * other.moving_mean + 0.1 * mean)
    torch.testing.assert_close(layer.moving_var, 0.9 * other.moving_var + 0.1 * var)


@pytest.mark.parametrize(("effective_n", "n"), [(None, 26), (5, 5)])
def test_by_rule_the_confidence_counts_all_inputs_unless_told(effective_n, n):
    batches = random_inputs()
    layer, other = by_rule("ca_only", batches, effective_n=effective_n)
    var, mean = torch.var_mean(torch.cat(batches, dim=1), dim=(0, 1), correction=0)
    delta = mean - other.moving_mean
    prior = 0.8 * other.update.prior_mean + 0.2 * delta**2
    gain = prior / (prior + var / n)
    torch.testing.assert_close(layer.update.gain_mean, gain)
    torch.testing.assert_close(layer.moving_mean, other.moving_mean + gain * delta)


@pytest.mark.parametrize("rule", [True, False])
def test_nothing_by_an_exception_or_without_a_batch(rule):
    network = tiny()
    network(observations())
    before = statistics(network)
    with pytest.raises(KeyboardInterrupt), recalibrating(network, by_rule=rule):
        network(observations(1))
        raise KeyboardInterrupt
    with recalibrating(network, by_rule=rule):
        pass
    assert_unchanged(network, before)


def test_images_count_once_by_rule():
    layer, other = (make_norm("ca_only", 3) for _ in range(2))
    x = torch.randn(4, 10, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    with recalibrating(layer, by_rule=True):
        layer(x[:, :4])
        layer(x[:, 4:])
    other(x)
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(layer.get_buffer(name), buffer, msg=name)
