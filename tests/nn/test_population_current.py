"""Receptive fields: where they are, and their activations as currents."""

import math

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.activity import activity
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.encoders.population_current import PopulationCurrentEncoder
from snnrl.nn.registry import build

from .networks import observations, tiny

ENCODERS = ["population", "population_current"]


def make(name, population=10, **parameters):
    return build(
        "encoder",
        dict(name=name, population=population, **parameters),
        inputs=3,
        time_steps=4,
        input_range=None,
    )


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("mean_range", "std"), [(3.0, math.sqrt(0.15)), (0.5, 2.0)])
def test_means_are_evenly_on_the_range(name, mean_range, std):
    encoder = make(name, population=5, mean_range=mean_range, std=std)
    spread = mean_range * torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    torch.testing.assert_close(encoder.mean, spread.expand(3, 5))
    torch.testing.assert_close(encoder.std, torch.full((3, 5), std))


def test_defaults_are_those_of_earlier_versions_to_the_bit():
    encoder = make("population")
    assert torch.equal(encoder.mean, torch.linspace(-1, 1, 10).repeat(3, 1))
    assert torch.equal(encoder.std, torch.full((3, 10), math.sqrt(0.05)))


@pytest.mark.parametrize("squash", [True, False])
def test_the_current_of_every_step_is_the_activation(squash):
    encoder = make("population_current", population=7, mean_range=2.0, std=0.4, squash=squash)
    x = 1.5 * observations()
    seen = torch.tanh(x) if squash else x
    expected = torch.exp(-((seen[:, :, None] - encoder.mean) ** 2) / (2 * 0.4**2)).flatten(1)
    currents = encoder(x)
    assert currents.shape == (4, 32, 21)
    for step in currents:
        torch.testing.assert_close(step, expected)


@pytest.mark.parametrize("squash", [True, False])
def test_the_population_spikes_by_the_same_activation(squash):
    parameters = dict(population=4, mean_range=2.0, std=0.4, squash=squash)
    spiking, analogue = (make(name, **parameters) for name in ENCODERS)
    x = observations()
    assert torch.equal(spiking.drive(x), analogue(x)[0])
    assert spiking(x).unique().tolist() == [0, 1]


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_the_native_kernel_computes_the_same(squash, training):
    values, gradients = [], []
    for kernel in ("naive", "native"):
        encoder = dict(name="population_current", mean_range=2.0, squash=squash)
        network = tiny(encoder=encoder, kernel=kernel).train(training)
        x = observations().requires_grad_()
        values.append(network(x))
        values[-1].square().sum().backward()
        gradients.append([x.grad, *(p.grad for p in network.parameters())])
    torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-5)
    for ours, naive in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_saturation_without_squashing_is_by_the_receptive_fields(name):
    encoder = make(name, mean_range=3.0, std=0.5, squash=False)
    # Two deviations beyond the outermost mean.
    assert encoder.saturation(torch.tensor([[3.9, -3.9, 0.0]])) == 0
    assert encoder.saturation(torch.tensor([[4.1, -3.9, 0.0]])) == pytest.approx(1 / 3)
    assert encoder.saturation(torch.tensor([[4.1, -4.1, 9.0]])) == 1


@pytest.mark.parametrize("name", ENCODERS)
def test_a_single_receptive_field_has_no_range(name):
    message = r"^encoder\.mean_range=3: has no effect with encoder\.population=1, .*"
    with pytest.raises(UserError, match=message):
        make(name, population=1, mean_range=3)
    encoder = make(name, population=1, std=0.5, squash=False)
    # Two deviations beyond its mean, 0.
    assert encoder.saturation(torch.tensor([[1.1, -0.9, 0.0]])) == pytest.approx(1 / 3)


def test_currents_are_no_firing_rates():
    seen = activity(tiny(encoder="population_current"), 10 * observations())
    assert "encoder" not in seen.rates
    assert seen.saturation["encoder"] > 0.5
    assert "encoder" in activity(tiny(encoder="population"), observations()).rates


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("mean_range", 0, "expected more than 0"),
        ("std", -0.1, "expected more than 0"),
        ("squash", 1, "expected true or false"),
    ],
)
def test_what_receptive_fields_cannot_have(name, parameter, value, expected):
    with pytest.raises(UserError, match=rf"^encoder\.{parameter}={value}: {expected}"):
        make(name, **{parameter: value})


def test_each_is_shown_with_what_differs():
    assert str(PopulationEncoder(3, 5)) == "PopulationEncoder(3, population=10, time_steps=5)"
    shown = str(PopulationCurrentEncoder(3, 5, mean_range=3.0, squash=False))
    assert shown == (
        "PopulationCurrentEncoder(3, population=10, time_steps=5, mean_range=3, squash=False)"
    )
