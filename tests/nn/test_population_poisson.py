"""Receptive fields whose activations are probabilities of a spike."""

import pytest
import torch

from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.encoders.population_poisson import PopulationPoissonEncoder
from snnrl.nn.operators import operators
from snnrl.nn.random_numbers import random_numbers

from .networks import observations, tiny, values_and_gradients


def make(inputs=3, steps=5, **changes):
    torch.manual_seed(0)
    return PopulationPoissonEncoder(inputs, steps, **changes).eval()


def test_the_probability_of_a_spike_is_the_activation():
    steps, batch = 50, 400
    encoder = make(2, steps, population=4, mean_range=3.0, std=0.9, squash=False)
    # Rows that differ beyond what the activation shows.
    observation = torch.tensor([0.3, -0.8]) + 1e-5 * torch.randn(batch, 2)
    spikes = encoder(observation)
    assert spikes.shape == (steps, batch, 8)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    drive, n = encoder.drive(observation).mean(0), steps * batch
    deviation = (drive * (1 - drive) / n).sqrt()
    assert ((spikes.mean((0, 1)) - drive).abs() <= 5 * deviation + 1e-4).all()
    # Steps, and neurons of one observation, coincide as often as by chance.
    for together, chance in (
        (spikes[1:, :, 1] * spikes[:-1, :, 1], drive[1] ** 2),
        (spikes[..., 1] * spikes[..., 2], drive[1] * drive[2]),
    ):
        assert abs(together.mean() - chance) < 5 * (chance / n) ** 0.5


def test_an_activation_of_one_always_spikes():
    encoder = make(1, 500, population=3, mean_range=30.0, squash=False)
    spikes = encoder(torch.zeros(4, 1))
    assert spikes.mean((0, 1)).tolist() == [0, 1, 0]


def test_the_gradient_passes_straight_through_the_draw():
    encoder, regular = make(), PopulationEncoder(3, 5)
    upstream = torch.randn(5, 32, 30)
    gradients = []
    for spikes in (encoder, lambda x: regular.drive(x).expand(5, -1, -1)):
        x = observations().requires_grad_()
        (spikes(x) * upstream).sum().backward()
        gradients.append(x.grad)
    assert gradients[0].abs().min() > 0
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(encoder.mean.grad, regular.mean.grad)
    torch.testing.assert_close(encoder.std.grad, regular.std.grad)


def test_spikes_of_an_observation_are_the_same_in_every_batch():
    encoder, x = make(), observations()
    alone = torch.cat([encoder(row[None]) for row in x], dim=1)
    assert torch.equal(encoder(x), alone)
    assert torch.equal(encoder(x[3:20]), alone[:, 3:20])


@pytest.mark.parametrize("kernel", ["native", pytest.param("compile", marks=pytest.mark.slow)])
def test_every_kernel_draws_the_same(kernel):
    networks = [tiny(encoder="population_poisson", kernel=each) for each in ("naive", kernel)]
    for _ in range(2):  # The second pass has other draws.
        values, gradients = zip(*map(values_and_gradients, networks), strict=True)
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    network = networks[1].eval()
    linear = network.layers[0].linear
    ours = network.encoder.known_currents(observations(), linear, operators("native"))
    torch.testing.assert_close(ours, linear(network.encoder(observations())))
    # No operator takes it for a constant input of every step.
    assert network.encoder.known_input(observations()) is None


def test_only_what_learns_moves_the_draws():
    network = tiny(encoder="population_poisson")
    (numbers,) = random_numbers(network)
    first = network.eval()(observations())
    with torch.no_grad():
        network.train()(observations())
    assert torch.equal(network.eval()(observations()), first)
    assert numbers.count == 0
    network.train()(observations())
    assert numbers.count == 1
    assert not torch.equal(network.eval()(observations()), first)
    # Weights and draws are saved together.
    other = tiny(encoder="population_poisson")
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.eval()(observations()), network(observations()))
