"""Poisson coding, and the drives that it shares with latency coding."""

import pytest
import torch

from snnrl.nn.adaptive import frozen
from snnrl.nn.encoders.latency import LatencyEncoder
from snnrl.nn.encoders.poisson import PoissonEncoder
from snnrl.nn.norm import recalibrating
from snnrl.nn.operators import operators
from snnrl.nn.random_numbers import random_numbers
from tests.nn.networks import images, observations, tiny, tiny_conv, values_and_gradients

KEPT = {"poisson": PoissonEncoder, "latency": LatencyEncoder}


def poisson(inputs=3, steps=5, **changes):
    torch.manual_seed(0)
    return PoissonEncoder(inputs, steps, **changes).eval()


@pytest.mark.parametrize("encoder", KEPT.values(), ids=KEPT)
def test_drives_by_hand(encoder):
    vector = encoder(2, 5)
    assert vector.features == 4
    drive = vector.drive(torch.tensor([[0.5, -1.5], [0.0, 30.0]]))
    high, low = torch.tanh(torch.tensor(0.5)).item(), torch.tanh(torch.tensor(1.5)).item()
    torch.testing.assert_close(drive, torch.tensor([[high, 0, 0, low], [0, 1.0, 0, 0]]))

    of_bytes = encoder(2, 5, input_range=(0.0, 255.0))
    assert of_bytes.features == 2
    assert of_bytes.drive(torch.tensor([[0.0, 51.0], [255.0, 300.0]])).tolist() == [
        [0.0, pytest.approx(0.2)],
        [1.0, 1.0],
    ]

    pixels = torch.tensor([0.0, 0.25, 1.0, 2.0]).reshape(1, 1, 2, 2)
    assert encoder(4, 5).drive(pixels).flatten().tolist() == [0.0, 0.25, 1.0, 1.0]


@pytest.mark.parametrize("encoder", KEPT.values(), ids=KEPT)
def test_what_is_too_large_to_be_told_apart(encoder):
    far = torch.tensor([[2.0, 3.0, -9.0, 0.0]])
    assert encoder(4, 5).saturation(far) == 0.5
    assert encoder(4, 5, input_range=(0.0, 255.0)).saturation(far) == 0
    assert encoder(4, 5).saturation(far.reshape(1, 1, 2, 2)) == 0


def test_the_probability_of_a_spike_is_the_drive():
    steps, batch = 50, 400
    encoder = poisson(3, steps)
    # Rows that differ beyond what the drive shows.
    observation = torch.tensor([0.3, -0.8, 0.0]) + 1e-5 * torch.randn(batch, 3)
    spikes = encoder(observation)
    assert spikes.shape == (steps, batch, 6)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    drive, n = encoder.drive(observation).mean(0), steps * batch
    deviation = (drive * (1 - drive) / n).sqrt()
    assert ((spikes.mean((0, 1)) - drive).abs() <= 5 * deviation + 1e-5).all()
    # Each step by itself: spikes of two steps coincide as often as by chance.
    together = (spikes[1:, :, 0] * spikes[:-1, :, 0]).mean()
    assert abs(together - drive[0] ** 2) < 5 * (drive[0] ** 2 / n) ** 0.5


def test_no_drive_never_spikes_and_a_whole_one_always():
    encoder = PoissonEncoder(2, 2_000, input_range=(0.0, 255.0))
    spikes = encoder(torch.tensor([[0.0, 255.0]]).repeat(5, 1))
    assert spikes[..., 0].sum() == 0
    assert spikes[..., 1].all()


def test_the_gradient_passes_straight_through_the_draw():
    observation = torch.tensor([[0.5, -1.5, 0.2]], requires_grad=True)
    encoder = poisson()
    upstream = torch.randn(5, 1, 6)
    (encoder(observation) * upstream).sum().backward()
    seen = torch.tensor([[0.5, -1.5, 0.2]], requires_grad=True)
    (encoder.drive(seen) * upstream.sum(0)).sum().backward()
    assert observation.grad.abs().min() > 0
    torch.testing.assert_close(observation.grad, seen.grad)


@pytest.mark.parametrize("kernel", ["native", pytest.param("compile", marks=pytest.mark.slow)])
@pytest.mark.parametrize("encoder", KEPT)
def test_every_kernel_draws_the_same(kernel, encoder):
    networks = [tiny(encoder=encoder, kernel=each, bn="none") for each in ("naive", kernel)]
    for _ in range(2):  # The second pass has other draws.
        values, gradients = zip(*map(values_and_gradients, networks), strict=True)
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*gradients)
        # Acting, one input at a time.
        with torch.no_grad():
            acts = [
                torch.cat([network(row[None]) for row in observations()[:3]])
                for network in networks
            ]
        torch.testing.assert_close(*acts)


@pytest.mark.parametrize("encoder", KEPT)
def test_currents_of_a_fused_kernel(encoder):
    network = tiny(encoder=encoder).eval()
    linear = network.layers[0].linear
    ours = network.encoder.known_currents(observations(), linear, operators("native"))
    torch.testing.assert_close(ours, linear(network.encoder(observations())))


@pytest.mark.parametrize("encoder", KEPT)
def test_images(encoder):
    networks = [tiny_conv(encoder=encoder, kernel=kernel) for kernel in ("naive", "native")]
    shown = torch.sigmoid(images())
    torch.testing.assert_close(*(network(shown) for network in networks))
    spikes = networks[0].encoder(shown)
    assert spikes.shape == (4, *shown.shape)
    assert 0 < spikes.mean() < 1


def test_passes_that_do_not_learn_leave_the_draws_alone():
    network = tiny(encoder="poisson", bn="carebn")
    (numbers,) = random_numbers(network)
    acts = network.eval()(observations())
    with recalibrating(network):
        network(observations())
    with torch.no_grad():
        network.train()(observations())
    with frozen(network):
        network(observations())
    assert numbers.count == 0
    network(observations())
    assert numbers.count == 1
    assert not torch.equal(network.eval()(observations()), acts)
