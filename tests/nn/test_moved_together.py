"""Statistics of all layers that move at the end of a pass move as each layer's rule says."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.norm.together import moved_together
from snnrl.ops import native, triton
from tests.ops.triton.reference import move_statistics

from .parts import make_norm

VARIANTS = {
    "published": dict(confidence="published"),
    "corrected": dict(confidence="corrected", smoothing=0.3),
    "kalman": dict(confidence="kalman"),
    "noise": dict(confidence="kalman", process_noise=0.1, effective_n=40.0),
}


class Operators:
    """The operator, by the stand-in for Triton's on a CPU."""

    MOVES_STATISTICS = True

    def __init__(self):
        self.calls = []

    def move_statistics(self, layers, rule):
        self.calls.append((len(layers), rule))
        changed = [tensor for layer in layers for tensor in layer.changed()]
        move_statistics(changed, [value for layer in layers for value in layer.batch], *rule)


def norms(name="carebn", count=3, **parameters):
    return [make_norm(dict(name=name, **parameters), 4, steps=3) for _ in range(count)]


def inputs(step, batch=5):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(3, batch, 4, generator=generator)


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


def moved(ours, ops, x):
    with moved_together(ours, ops):
        return [norm(x) for norm in ours]


@pytest.mark.parametrize("name", ["carebn", "bntt", "tebn"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_one_call_moves_what_each_rule_moves(name, variant):
    ours = norms(name, **{"rule": "confidence", **variant})
    theirs, ops = copy.deepcopy(ours), Operators()
    for step in range(3):
        x = inputs(step)
        values = moved(ours, ops, x)
        expected = [norm(x) for norm in theirs]
        assert all(torch.equal(a, b) for a, b in zip(values, expected, strict=True))
        assert_same(ours, theirs)
    assert [count for count, _ in ops.calls] == [3, 3, 3]


def test_nothing_moves_before_the_end():
    ours = norms()
    before = copy.deepcopy(ours)
    with moved_together(ours, Operators()):
        for norm in ours:
            norm(inputs(0))
        assert_same(ours, before)
    assert all((norm.moving_mean != 0).all() for norm in ours)


class Own(ConfidenceUpdate):
    """A rule of the user's."""

    def _gain(self, smoothed, observation, of):
        return torch.full_like(smoothed, 0.5)


def own(norm):
    norm.update = Own((4,))
    return norm


@pytest.mark.parametrize(
    "others",
    [
        lambda: norms("vanilla"),
        lambda: norms("carebn", effective_n="auto"),
        lambda: [norm.double() for norm in norms()],
        lambda: [own(norm) for norm in norms()],
    ],
    ids=["ema", "auto", "double", "own"],
)
def test_a_rule_without_an_operator_moves_as_ever(others):
    ours = others()
    theirs, ops, x = copy.deepcopy(ours), Operators(), inputs(0).to(ours[0].moving_mean.dtype)
    with moved_together(ours, ops):
        for norm in ours:
            norm(x)
            assert (norm.moving_mean != 0).all()
    for norm in theirs:
        norm(x)
    assert_same(ours, theirs)
    assert ops.calls == []


def test_layers_of_several_rules_and_batch_sizes():
    ours = [*norms(count=2), *norms(count=1, smoothing=0.5)]
    theirs, ops = copy.deepcopy(ours), Operators()
    sizes = (5, 7, 5)
    with moved_together(ours, ops):
        for norm, size in zip(ours, sizes, strict=True):
            norm(inputs(1, size))
    for norm, size in zip(theirs, sizes, strict=True):
        norm(inputs(1, size))
    assert_same(ours, theirs)
    assert sorted((rule.smoothing, rule.n) for _, rule in ops.calls) == [
        (0.5, 4),
        (0.8, 4),
        (0.8, 6),
    ]


def test_a_pass_that_fails_moves_nothing_and_leaves_nothing():
    ours, ops = norms(), Operators()
    before = copy.deepcopy(ours)
    with pytest.raises(RuntimeError, match="stop"), moved_together(ours, ops):
        ours[0](inputs(0))
        raise RuntimeError("stop")
    assert_same(ours, before)
    assert ops.calls == [] and all(norm.waiting is None for norm in ours)
    ours[0](inputs(0))
    assert (ours[0].moving_mean != 0).all()


def test_passes_that_do_not_learn_move_nothing():
    ours, ops = norms(), Operators()
    with torch.no_grad():
        moved(ours, ops, inputs(0))
    assert ops.calls == []


def test_which_operators_do():
    assert triton.MOVES_STATISTICS and not native.MOVES_STATISTICS
    layer = SimpleNamespace(moving=(torch.zeros(2),))
    with pytest.raises(UserError, match=r"^kernel=triton: needs a CUDA device"):
        triton.move_statistics([layer], None)
