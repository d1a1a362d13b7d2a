import pytest
import torch
import torch.nn.functional as F

from snnrl.errors import UserError
from snnrl.nn.activity import activity
from snnrl.nn.convolution import convolved_shapes
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy, norm_layers, recalibrating
from snnrl.nn.norm.error import statistics_error

from .networks import CONV, images, tiny_conv
from .parts import make_norm


def test_shapes():
    assert convolved_shapes((2, 6, 7), **CONV) == [(2, 6, 7), (4, 4, 5), (6, 2, 2)]
    # The network of Mnih et al. (2015), whose last layer has 3,136 neurons.
    nature = convolved_shapes((4, 84, 84), [32, 64, 64], [8, 4, 3], [4, 2, 1])
    assert nature == [(4, 84, 84), (32, 20, 20), (64, 9, 9), (64, 7, 7)]


def test_shapes_of_what_flows():
    network = tiny_conv()
    assert network.conv.features == 24
    seen = []
    for layer in (*network.conv.layers, *network.layers):
        layer.register_forward_hook(lambda _, x, y: seen.append(tuple(y.shape)))
    assert network(images()).shape == (16, 3)
    assert seen == [(4, 16, 4, 4, 5), (4, 16, 6, 2, 2), (4, 16, 6)]


def test_spikes_by_hand():
    network = tiny_conv("none")
    layer = network.conv.layers[0]
    x = torch.stack([images(seed) for seed in range(4)])
    spikes = layer(x)
    potential = torch.zeros(16, 4, 4, 5)
    for step, expected in zip(x, spikes, strict=True):
        potential = 0.75 * potential + F.conv2d(step, layer.linear.weight, layer.linear.bias)
        spike = (potential > 0.5).float()
        potential = potential * (1 - spike)
        # A potential within rounding of the threshold may fall to either side.
        clear = (potential - 0.5).abs() > 1e-5
        assert torch.equal(spike[clear], expected[clear])
    assert 0 < spikes.mean() < 1


@pytest.mark.parametrize("readout", ["linear", "population"])
@pytest.mark.parametrize("bn", ["none", "vanilla", "carebn"])
@pytest.mark.parametrize("neuron", ["lif", "clif", "dn"])
def test_every_parameter_gets_a_gradient(neuron, bn, readout):
    network = tiny_conv(bn, neuron=neuron, readout=readout)
    network(images()).square().sum().backward()
    for name, parameter in network.named_parameters():
        # A normalisation with batch statistics takes away the bias in front of it.
        if bn == "none" or not name.endswith("linear.bias") or name.startswith("decoder"):
            assert parameter.grad.abs().sum() > 0, name


def pooled(x):
    """One mean and one biased variance per channel of ``x[T, B, C, H, W]``."""
    rows = x.movedim(2, 0).flatten(1)
    return rows.mean(1), rows.var(1, correction=0)


def test_statistics_of_a_channel_are_over_time_batch_and_space():
    layer = make_norm(dict(name="vanilla", momentum=1.0), 4)
    x = torch.stack([torch.randn(8, 4, 5, 6) * (t + 1) + t for t in range(3)])
    y = layer(x)
    mean, var = pooled(x)
    torch.testing.assert_close(layer.moving_mean, mean)
    torch.testing.assert_close(layer.moving_var, var)
    # torch's own pools over batch and space: time as a part of the batch is the same.
    expected = F.batch_norm(
        x.flatten(0, 1), None, None, layer.gamma, layer.beta, training=True, eps=1e-5
    )
    torch.testing.assert_close(y, expected.unflatten(0, (3, 8)))

    layer.eval()
    own = torch.randn(3, 8, 4, 5, 6)
    expected = F.batch_norm(own.flatten(0, 1), mean, var, layer.gamma, layer.beta, eps=1e-5)
    torch.testing.assert_close(layer(own), expected.unflatten(0, (3, 8)))


def test_the_gradient_through_the_statistics_is_torchs():
    layer = make_norm("carebn", 3)
    x = torch.randn(2, 4, 3, 5, 5, requires_grad=True)
    upstream = torch.randn(2, 4, 3, 5, 5)
    (layer(x) * upstream).sum().backward()
    copy = x.detach().clone().requires_grad_()
    gamma = torch.full((3,), 0.25)
    y = F.batch_norm(copy.flatten(0, 1), None, None, gamma, gamma, training=True, eps=1e-5)
    (y.unflatten(0, (2, 4)) * upstream).sum().backward()
    torch.testing.assert_close(x.grad, copy.grad, rtol=1e-4, atol=1e-6)


def test_an_image_counts_once_for_the_confidence():
    """The published rule has batch size - 1 observations, whatever time steps and pixels."""
    default, given = (make_norm(dict(name="carebn", effective_n=n), 3) for n in (None, 7))
    x = torch.randn(4, 8, 3, 5, 5)
    default(x)
    given(x)
    assert torch.equal(default.update.gain_mean, given.update.gain_mean)


def test_recalibration_pools_over_all_images():
    network = tiny_conv().eval()
    seen = [[], []]
    for layer, inputs in zip(network.conv.layers, seen, strict=True):
        layer.norm.register_forward_pre_hook(lambda _, x, to=inputs: to.append(x[0]))
    with recalibrating(network):
        for seed, batch in enumerate((8, 16, 3)):
            network(images(seed, batch))
    for layer, inputs in zip(network.conv.layers, seen, strict=True):
        mean, var = pooled(torch.cat(inputs, dim=1))
        assert mean.shape == layer.norm.moving_mean.shape
        torch.testing.assert_close(layer.norm.moving_mean, mean)
        torch.testing.assert_close(layer.norm.moving_var, var)


def test_after_recalibration_on_one_batch_its_statistics_are_right():
    network = tiny_conv().eval()
    before = statistics_error(network, [(images(),)])
    assert list(before) == ["conv.layers.0.norm", "conv.layers.1.norm", "layers.0.norm"]
    assert all(error.mean_error > 0.1 for error in before.values())
    with recalibrating(network):
        network(images())
    for error in statistics_error(network, [(images(),)]).values():
        assert error.mean_error < 1e-4
        assert error.variance_ratio == pytest.approx(1, abs=1e-4)


def test_firing_rates():
    network = tiny_conv().eval()
    rates = activity(network, images()).rates
    spikes = network.encoder(images())
    for name, layer in zip(("conv.layers.0", "conv.layers.1"), network.conv.layers, strict=True):
        spikes = layer(spikes)
        assert rates[name] == pytest.approx(spikes.mean().item())
        assert 0 < rates[name] < 1
    assert list(rates) == ["conv.layers.0", "conv.layers.1", "layers.0"]


def test_rows_do_not_depend_on_each_other_in_evaluation():
    network = tiny_conv()
    network(images(1))
    network.eval()
    together = network(images())
    torch.testing.assert_close(network(images()[3:4])[0], together[3])


def test_gamma_and_beta_start_at_half_the_threshold():
    network = tiny_conv(neuron=dict(name="lif", threshold=0.8))
    for layer in norm_layers(network):
        assert torch.equal(layer.gamma, torch.full_like(layer.gamma, 0.4))


def test_a_convolution_can_be_read_out_without_hidden_layers():
    network = tiny_conv(hidden=[])
    assert network(images()).shape == (16, 3)
    assert tuple(network.decoder.linear.weight.shape) == (3, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(conv=CONV | dict(kernels=[3])),
            r"^conv.channels has 2, conv.kernels has 1, conv.strides has 2: expected the same",
        ),
        (
            dict(conv=dict(channels=[], kernels=[], strides=[])),
            r"conv.strides has 0: expected the same number of layers, at least one$",
        ),
        (dict(conv=CONV | dict(strides=[0, 2])), r"^conv.strides=\[0, 2\]: expected at least 1$"),
        (
            dict(conv=CONV | dict(kernels=[3, 5])),
            r"^conv.kernels=\[3, 5\]: layer 2 sees images of 4 x 5; expected a kernel of at most 4 "
            r"there, or larger images than 6 x 7$",
        ),
        (dict(conv=None), r"^conv=None: inputs of shape \(2, 6, 7\) are images; expected dict"),
        (
            dict(encoder="population"),
            r"^encoder=population: .* not images; expected direct or "
            r"latency or poisson$",
        ),
        (dict(inputs=84), r"^conv=.*: expected images, not a vector of 84 numbers$"),
        (dict(inputs=(6, 7)), r"^conv: takes images \(C, H, W\), not .* of shape \(6, 7\)$"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        tiny_conv(**changes)


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (CONV | dict(kernel=3), r"^conv parameter=kernel: .*'kernels'\?$"),
        (dict(channels=[4], kernels=[3]), r"^conv.strides: is missing; expected a"),
    ],
)
def test_wrong_keys_are_refused(conv, message):
    with pytest.raises(UserError, match=message):
        tiny_conv(conv=conv)


@pytest.mark.slow
def test_compiled_equals_naive():
    changes = dict(conv=dict(channels=[3], kernels=[3], strides=[2]), time_steps=2)
    naive, compiled = tiny_conv(**changes), tiny_conv(**changes, kernel="compile")
    for network in (naive, compiled):
        network(images()).square().sum().backward()
    parameters = dict(compiled.named_parameters())
    for name, parameter in naive.named_parameters():
        torch.testing.assert_close(
            parameters[name].grad, parameter.grad, rtol=1e-4, atol=1e-4, msg=name
        )
    for name, buffer in naive.named_buffers():
        torch.testing.assert_close(compiled.get_buffer(name), buffer, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(compiled.eval()(images()), naive.eval()(images()))


PADDED = {
    "channels": [3, 4, 2],
    "kernels": [3, 3, 3],
    "strides": [1, 1, 1],
    "paddings": [1, 0, 1],
    "pools": [2, 1, 3],
}


def test_padded_and_pooled_shapes() -> None:
    shapes = convolved_shapes((1, 16, 16), **PADDED)
    assert shapes == [(1, 16, 16), (3, 8, 8), (4, 6, 6), (2, 2, 2)]


def padded_network(kernel: str) -> SpikingNetwork:
    torch.manual_seed(0)
    return SpikingNetwork(
        (1, 16, 16),
        2,
        [5],
        neuron="lif",
        surrogate="rectangular",
        encoder="direct",
        norm=make_strategy("tdbn"),
        time_steps=3,
        population=1,
        kernel=kernel,
        readout="linear",
        conv=PADDED,
    )


def test_pools_average_spikes_between_layers() -> None:
    """By a loop over the layers' own parts."""
    network, images = padded_network("naive"), torch.rand(4, 1, 16, 16) * 3
    x = images.expand(3, *images.shape).flatten(0, 1)
    layers = [(layer, pool) for layer, pool in zip(network.conv.layers, [2, 1, 3], strict=True)]
    for (layer, pool), padding in zip(layers, PADDED["paddings"], strict=True):
        linear = layer.linear
        currents = F.conv2d(x, linear.weight, linear.bias, padding=padding)
        spikes = layer.neuron(layer.norm(currents.unflatten(0, (3, 4))))[0]
        x = F.avg_pool2d(spikes.flatten(0, 1), pool)
    dense = network.layers[0]
    currents = x.flatten(1) @ dense.linear[1].weight.T + dense.linear[1].bias
    spikes = dense.neuron(dense.norm(currents.unflatten(0, (3, 4))))[0]
    torch.testing.assert_close(network(images), network.decoder(spikes))
    assert 0 < spikes.mean() < 1


def test_pools_are_the_same_by_every_kernel() -> None:
    images = torch.rand(4, 1, 16, 16) * 3
    naive, native = padded_network("naive"), padded_network("native")
    for learns in (True, False):
        naive.train(learns), native.train(learns)
        torch.testing.assert_close(naive(images), native(images))
    naive.train(), native.train()
    for network in (naive, native):
        network(images).square().sum().backward()
    for ours, theirs in zip(naive.parameters(), native.parameters(), strict=True):
        # A bias before a normalisation has the gradient 0, and rounding.
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_a_pool_that_is_too_large_is_refused() -> None:
    with pytest.raises(UserError, match=r"conv.pools=\[2, 1, 7\]: layer 3 makes images of 6 x 6"):
        convolved_shapes((1, 16, 16), **{**PADDED, "pools": [2, 1, 7]})
