"""Receptive fields and the readout of rates in Triton's interpreter, against the modules."""

import pytest
import torch

from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.readouts import PopulationDecoder
from snnrl.ops.triton import receptive_fields
from snnrl.ops.triton.decoding import decode_backward, decode_forward
from snnrl.ops.triton.receptive_fields import fields_backward, fields_forward

from ..helpers import gradients, naive_encode, normal

THRESHOLD = PopulationEncoder.THRESHOLD


def naive_fields(seen, mean, std, time_steps):
    distance = seen.unsqueeze(-1) - mean
    drive = torch.exp(-(distance**2) / (2 * std**2)).flatten(1)
    return naive_encode(drive, time_steps, THRESHOLD)


def make_fields(numbers, population):
    encoder = PopulationEncoder(numbers, 1, population)
    shape = (numbers, population)
    mean = encoder.mean.detach() + normal(*shape, seed=3, scale=0.05)
    return mean, encoder.std.detach() + normal(*shape, seed=4, scale=0.02)


def leaves(*values):
    return [value.detach().float().requires_grad_() for value in values]


def check_fields(seen, mean, std, g, **tolerance):
    inputs = leaves(seen, mean, std)
    spikes = naive_fields(*inputs, len(g))
    ours = fields_forward(seen, mean, std, len(g), THRESHOLD)
    assert ours.dtype == torch.promote_types(seen.dtype, mean.dtype)
    assert torch.equal(ours.float(), spikes) and (spikes.mean() > 0 or len(g) == 1)
    expected = gradients(spikes, g.float(), *inputs)
    found = fields_backward(g, seen, mean, std, THRESHOLD, True, True)
    for one, other, of in zip(found, expected, (seen, mean, std), strict=True):
        assert one.dtype == of.dtype
        torch.testing.assert_close(one.float(), other, **tolerance)


@pytest.mark.parametrize(("time_steps", "batch"), [(1, 2), (5, 3), (40, 2), (5, 130)])
@pytest.mark.parametrize(("numbers", "population"), [(3, 10), (1, 1), (7, 4)])
def test_fields(time_steps, batch, numbers, population):
    seen, fields = normal(batch, numbers, scale=0.5), make_fields(numbers, population)
    g = normal(time_steps, batch, numbers * population, seed=1)
    check_fields(seen, *fields, g, rtol=1e-4, atol=1e-4)


def test_fields_in_short_numbers():
    seen, fields = normal(3, 2, scale=0.5).bfloat16(), make_fields(2, 5)
    g = normal(5, 3, 10, seed=1)
    check_fields(seen, *fields, g, rtol=8e-3, atol=0.1)


def test_fields_take_any_layout():
    seen, fields = normal(4, 6, scale=0.5).T, make_fields(4, 5)
    mean, std = (field.T.contiguous().T for field in fields)
    check_fields(seen, mean, std, normal(20, 6, 5).transpose(0, 2), rtol=1e-4, atol=1e-4)
    check_fields(seen, mean, std, normal(6, 20).expand(5, 6, 20), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("of_seen", [False, True])
@pytest.mark.parametrize("of_fields", [False, True])
def test_only_the_gradients_that_are_wanted(of_seen, of_fields, monkeypatch):
    launched = []
    for name in ("observations_kernel", "parameters_kernel"):
        kernel = Noted(getattr(receptive_fields, name), name, launched)
        monkeypatch.setattr(receptive_fields, name, kernel)
    seen, fields, g = normal(3, 2), make_fields(2, 5), normal(5, 3, 10, seed=1)
    dseen, *dfields = fields_backward(g, seen, *fields, THRESHOLD, of_seen, of_fields)
    assert dseen.numel() == (6 if of_seen else 0)
    assert [d.numel() for d in dfields] == [10 if of_fields else 0] * 2
    assert not any(value.isnan().any() for value in (dseen, *dfields))
    assert len(launched) == of_seen + of_fields


class Noted:
    def __init__(self, kernel, name, launched):
        self.kernel, self.name, self.launched = kernel, name, launched

    def __getitem__(self, grid):
        self.launched.append(self.name)
        return self.kernel[grid]


def check_decode(counts, decoder, g, **tolerance):
    weight, bias = decoder.weight.detach(), decoder.bias.detach()
    leaf = leaves(counts)[0]
    values = decoder.read(leaf, 5)
    ours = decode_forward(counts, weight, bias, 5)
    torch.testing.assert_close(ours, values.detach(), **tolerance)
    expected = gradients(values, g, leaf, decoder.weight, decoder.bias)
    found = decode_backward(g, counts, weight, 5)
    for one, other, of in zip(found, expected, (counts, weight, bias), strict=True):
        assert one.dtype == of.dtype and one.shape == of.shape
        torch.testing.assert_close(one.float(), other, **tolerance)


@pytest.mark.parametrize("batch", [1, 3, 70])
@pytest.mark.parametrize(("outputs", "population"), [(6, 10), (1, 1), (3, 16), (2, 33)])
def test_decode(batch, outputs, population):
    counts = torch.randint(0, 6, (batch, outputs * population)).float()
    decoder, g = PopulationDecoder(outputs, population), normal(batch, outputs, seed=1)
    check_decode(counts, decoder, g, rtol=1e-5, atol=1e-5)


def test_decode_in_short_numbers():
    counts = torch.randint(0, 6, (4, 20)).bfloat16()
    check_decode(counts, PopulationDecoder(2, 10), normal(4, 2), rtol=8e-3, atol=1e-2)


def test_decode_takes_any_layout():
    counts = torch.randint(0, 6, (20, 4)).float().T
    decoder = PopulationDecoder(2, 10)
    check_decode(counts, decoder, normal(2, 4).T, rtol=1e-5, atol=1e-5)
    check_decode(counts, decoder, torch.ones(()).expand(4, 2), rtol=1e-5, atol=1e-5)
