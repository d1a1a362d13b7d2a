import math

import pytest
import torch

from snnrl.agents.updates.loss_log import LossLog
from snnrl.errors import NonFiniteError


def test_means_since_the_last_call():
    losses = LossLog()
    for value in (1.0, 3.0):
        losses.add("a", torch.tensor(value, requires_grad=True))
    losses.add("b", torch.tensor(-1.0))
    assert losses.drain(step=5) == {"a": 2.0, "b": -1.0}
    assert losses.drain(step=6) == {}
    losses.add("a", torch.tensor(7.0))
    assert losses.drain(step=7) == {"a": 7.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_is_enough(value):
    losses = LossLog()
    for each in (1.0, value, 2.0):
        losses.add("train/critic_loss", torch.tensor(each))
    with pytest.raises(NonFiniteError, match=r"^train/critic_loss is not finite at step 12$"):
        losses.drain(step=12)


def test_sums_stay_where_they_are():
    losses = LossLog()
    losses.add("a", torch.tensor(1.0))
    kept = [*losses._sums.values(), *losses._counts.values()]
    losses.add("a", torch.tensor(2.0))
    losses.drain(step=1)
    losses.add("a", torch.tensor(5.0))
    assert all(a is b for a, b in zip([*losses._sums.values()], kept[:1], strict=True))
    assert [tensor.item() for tensor in kept] == [5.0, 1.0]


def test_an_error_is_told_once():
    losses = LossLog()
    losses.add("a", torch.tensor(math.nan))
    with pytest.raises(NonFiniteError):
        losses.drain(step=1)
    losses.add("a", torch.tensor(1.0))
    assert losses.drain(step=2) == {"a": 1.0}


def test_losses_of_different_precision_are_drained_together():
    losses = LossLog()
    losses.add("one", torch.tensor(1.5))
    losses.add("other", torch.tensor(2.5, dtype=torch.float64))
    assert losses.drain(0) == {"one": 1.5, "other": 2.5}
