"""The update of moving statistics in Triton's interpreter, against the modules' rules."""

import copy

import pytest
import torch

from snnrl.nn.norm.confidence import ConfidenceUpdate, CorrectedConfidenceUpdate, KalmanUpdate
from snnrl.ops.triton import confidence
from snnrl.ops.triton.confidence import move_statistics

from ..helpers import normal

RULES = {
    "published": ConfidenceUpdate,
    "corrected": CorrectedConfidenceUpdate,
    "kalman": KalmanUpdate,
}
NAMES = ("prior_mean", "prior_var", "gain_mean", "gain_var", "posterior_mean", "posterior_var")


class Layer:
    def __init__(self, rule, size):
        self.rule = rule
        self.mean, self.var = torch.zeros(size), torch.ones(size)

    def state(self):
        names = [name for name in (*NAMES, "started") if hasattr(self.rule, name)]
        return [self.mean, self.var, *(getattr(self.rule, name) for name in names)]


def batches(sizes, seed):
    pairs = [(normal(*s, seed=seed), normal(*s, seed=seed + 1).square() + 0.1) for s in sizes]
    for _, var in pairs:
        # A silent feature: R is 0, and G as well while its mean does not move.
        var.view(-1)[0] = 0
    return pairs


def check(variant, sizes, smoothing=0.8, process_noise=None, steps=4):
    more = {} if process_noise is None else dict(process_noise=process_noise)
    n = 255.0
    naive = [Layer(RULES[variant](size, smoothing, n, **more), size) for size in sizes]
    ours = copy.deepcopy(naive)
    for step in range(steps):
        seen = batches(sizes, seed=10 * step)
        for layer, (mean, var) in zip(naive, seen, strict=True):
            layer.rule(layer.mean, layer.var, mean, var, 1)
        state = [tensor for layer in ours for tensor in layer.state()]
        flat = [value for pair in seen for value in pair]
        move_statistics(state, flat, variant, smoothing, n, process_noise)
        expected = [tensor for layer in naive for tensor in layer.state()]
        for one, other in zip(state, expected, strict=True):
            # The processor may round delta^2 and its mean at once.
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("variant", RULES)
@pytest.mark.parametrize("smoothing", [0.8, 0.3])
def test_layers_of_several_sizes(variant, smoothing):
    check(variant, [(7,), (1,), (1030,)], smoothing)


def test_a_given_process_noise():
    check("kalman", [(7,), (5,)], process_noise=0.1)


def test_statistics_of_each_step():
    check("corrected", [(3, 5), (3, 1)])


@pytest.mark.parametrize("variant", RULES)
def test_more_layers_than_a_launch_has(variant, monkeypatch):
    monkeypatch.setattr(confidence, "MOST_LAYERS", 2)
    check(variant, [(3,)] * 5, steps=2)


def test_what_is_not_a_number_stays_none():
    layer = Layer(CorrectedConfidenceUpdate((2,), 0.8, 9.0), (2,))
    mean, var = torch.tensor([float("nan"), 1.0]), torch.ones(2)
    move_statistics(layer.state(), [mean, var], "corrected", 0.8, 9.0, None)
    assert layer.mean.isnan().tolist() == [True, False]
    assert layer.rule.prior_mean.isnan().tolist() == [True, False]


def test_a_batch_of_any_strides():
    check_one, other = (Layer(ConfidenceUpdate((4,), 0.8, 9.0), (4,)) for _ in range(2))
    mean, var = normal(4, 3)[:, 1], normal(4, 3)[:, 2].abs()
    check_one.rule(check_one.mean, check_one.var, mean, var, 1)
    move_statistics(other.state(), [mean, var], "published", 0.8, 9.0, None)
    torch.testing.assert_close(other.mean, check_one.mean)
    torch.testing.assert_close(other.var, check_one.var)
