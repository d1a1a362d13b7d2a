import math

import pytest
import torch

from snnrl.nn.encoders.direct import DirectEncoder
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.readouts import PopulationDecoder, SpikeCountReadout


def drive_of(encoder, observation):
    """``exp(-(tanh o - mean)^2 / (2 std^2))`` of each neuron, ``[B, D * P]``."""
    distance = torch.tanh(observation).unsqueeze(-1) - encoder.mean
    return torch.exp(-(distance**2) / (2 * encoder.std**2)).flatten(1)


def test_receptive_fields_are_spread_over_the_squashed_observation():
    encoder = PopulationEncoder(3, 5, population=5)
    assert encoder.features == 15
    torch.testing.assert_close(encoder.mean[1], torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))
    torch.testing.assert_close(encoder.std, torch.full((3, 5), math.sqrt(0.05)))


def test_a_single_neuron_sits_in_the_middle():
    assert PopulationEncoder(2, 5, population=1).mean.tolist() == [[0.0], [0.0]]


def test_spikes_of_an_accumulator_by_hand():
    encoder = PopulationEncoder(1, 5, population=1)
    # A drive of 0.6: 0.6; 1.2 spikes, leaves 0.201; 0.801; 1.401 spikes, leaves 0.402; 1.002
    # spikes. The observation whose drive that is:
    distance = math.sqrt(-2 * 0.05 * math.log(0.6))
    spikes = encoder(torch.tensor([[math.atanh(distance)]]))
    assert spikes.flatten().tolist() == [0.0, 1.0, 0.0, 1.0, 1.0]


def test_rates_follow_the_drive():
    steps = 400
    encoder = PopulationEncoder(4, steps, population=10)
    observation = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    spikes = encoder(observation)
    assert spikes.shape == (steps, 16, 40)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    # What is left in the accumulator is less than a spike.
    expected = drive_of(encoder, observation) / encoder.THRESHOLD
    torch.testing.assert_close(spikes.mean(0), expected.clamp(max=1), rtol=0.0, atol=1.1 / steps)


def test_the_gradient_passes_straight_through_the_threshold():
    steps = 5
    encoder = PopulationEncoder(2, steps, population=4)
    observation = torch.tensor([[0.3, -1.2], [0.1, 0.8]], requires_grad=True)
    upstream = torch.randn(steps, 2, 8, generator=torch.Generator().manual_seed(0))
    (encoder(observation) * upstream).sum().backward()

    # With ds/du = 1 the accumulated potential u[t] = u[t-1] - th s[t-1] + a has du[t]/da =
    # 1 + (1 - th) du[t-1]/da.
    slopes = [1.0]
    for _ in range(steps - 1):
        slopes.append(1 + (1 - encoder.THRESHOLD) * slopes[-1])
    weights = (upstream * torch.tensor(slopes).reshape(-1, 1, 1)).sum(0)
    parameters = (observation, encoder.mean, encoder.std)
    expected = torch.autograd.grad((drive_of(encoder, observation) * weights).sum(), parameters)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_direct_coding_repeats_the_observation():
    encoder = DirectEncoder(3, 4)
    observation = torch.randn(2, 3, requires_grad=True)
    currents = encoder(observation)
    assert encoder.features == 3
    assert currents.shape == (4, 2, 3)
    assert all(torch.equal(step, observation) for step in currents)
    currents.sum().backward()
    assert torch.equal(observation.grad, torch.full((2, 3), 4.0))


def test_bytes_are_scaled_before_the_tanh():
    values = torch.tensor([[0.0], [10.0], [128.0], [250.0], [255.0]])
    scaled = PopulationEncoder(1, 50, input_range=(0.0, 255.0))
    by_hand = PopulationEncoder(1, 50)
    assert torch.equal(scaled(torch.tensor([[0.0]])), by_hand(torch.tensor([[-1.0]])))
    assert torch.equal(scaled(torch.tensor([[255.0]])), by_hand(torch.tensor([[1.0]])))
    rates = scaled(values).mean(0)
    assert (torch.cdist(rates, rates) + torch.eye(5) > 0.05).all()
    # As they are, all bytes but 0 are one.
    assert by_hand(values)[:, 1:].mean(0).std(0).max() == 0


def test_direct_coding_repeats_images_unscaled():
    encoder = DirectEncoder(24, 3, input_range=(0.0, 255.0))
    images = torch.arange(48.0).reshape(2, 2, 3, 4)
    currents = encoder(images)
    assert currents.shape == (3, 2, 2, 3, 4)
    assert all(torch.equal(step, images) for step in currents)


def test_spike_count_readout_by_hand():
    readout = SpikeCountReadout(3, 2)
    with torch.no_grad():
        readout.linear.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]]))
        readout.linear.bias.copy_(torch.tensor([0.5, -0.5]))
    spikes = torch.tensor([[[1.0, 0.0, 1.0]], [[1.0, 1.0, 0.0]]])  # counts 2, 1, 1
    assert readout(spikes).tolist() == [[2 + 2 + 3 + 0.5, -1 + 0.5 - 0.5]]


def test_decoder_by_hand():
    decoder = PopulationDecoder(2, population=2)
    with torch.no_grad():
        decoder.weight.copy_(torch.tensor([[1.0, 2.0], [-3.0, 4.0]]))
        decoder.bias.copy_(torch.tensor([0.5, -0.5]))
    spikes = torch.tensor([[[1.0, 0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0, 0.0]]])  # [T=2, B=1, 4]
    # Rates 1, 0.5 and 0.5, 0.5: 1 + 2 * 0.5 + 0.5 and -3 * 0.5 + 4 * 0.5 - 0.5.
    assert decoder(spikes).tolist() == [[2.5, 0.0]]


def test_decoder_gradient():
    decoder = PopulationDecoder(3, population=4).double()
    spikes = torch.rand(5, 2, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(decoder, (spikes,))


@pytest.mark.parametrize("population", [1, 9])
def test_decoder_starts_within_the_bound_of_a_linear_map(population):
    torch.manual_seed(0)
    decoder = PopulationDecoder(50, population)
    bound = 1 / math.sqrt(population)
    for parameter in decoder.parameters():
        assert bound * 0.8 < parameter.abs().max() <= bound
