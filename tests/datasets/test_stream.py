"""Minibatches of a data set."""

from __future__ import annotations

import numpy as np
import pytest

from snnrl.data import DataSet, DataStream, Split
from snnrl.errors import UserError


def numbered(n: int, classes: int = 3) -> DataSet:
    """Images of one pixel, whose value is the example's number."""
    inputs = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    split = Split(inputs, np.arange(n) % classes)
    return DataSet("numbered", classes, split, split)


def stream(n: int, batch: int, seed: int = 0) -> DataStream:
    return DataStream(numbered(n), batch, np.random.default_rng(seed))


def shown(of: DataStream, batches: int) -> list[list[int]]:
    found = [of.reset().ravel().tolist()]
    for _ in range(batches - 1):
        inputs, *_ = of.step(np.zeros(of.num_envs, dtype=int))
        found.append(inputs.ravel().tolist())
    return found


@pytest.mark.parametrize(("n", "batch"), [(6, 2), (7, 3), (5, 5), (8, 3)])
def test_every_pass_shows_each_example_once_in_another_order(n: int, batch: int) -> None:
    every = [number for numbers in shown(stream(n, batch), 3 * n) for number in numbers]
    passes = [every[i : i + n] for i in range(0, len(every) - n, n)]
    assert all(sorted(each) == list(range(n)) for each in passes)
    assert len({tuple(each) for each in passes}) > 1


def test_rewards_and_labels_are_of_the_shown_minibatch() -> None:
    ours = stream(6, 2)
    numbers = ours.reset().ravel()
    np.testing.assert_array_equal(ours.labels, numbers % 3)
    guesses = np.array([numbers[0] % 3, (numbers[1] + 1) % 3])
    inputs, rewards, ends, _ = ours.step(guesses)
    assert rewards.tolist() == [1, 0]
    assert ends.all()
    np.testing.assert_array_equal(ours.labels, inputs.ravel() % 3)


def test_a_state_continues_within_a_pass_and_beyond_it() -> None:
    whole = shown(stream(7, 3), 12)
    ours = stream(7, 3)
    shown(ours, 5)
    other = stream(7, 3, seed=9)
    assert other.set_state(ours.get_state()) is None
    assert shown(other, 8) == whole[4:]


def test_a_state_of_another_data_set_is_refused() -> None:
    reason = stream(8, 3).set_state(stream(7, 3).get_state())
    assert reason == "the data set has 8 training examples and had 7"


def test_a_sample_moves_nothing() -> None:
    ours = stream(7, 3)
    sample = ours.sample(20, np.random.default_rng(1))
    assert sample.shape == (20, 1, 1, 1)
    assert shown(ours, 4) == shown(stream(7, 3), 4)


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_that_is_no_class_is_refused(split: str, label: int) -> None:
    data = numbered(4)
    labels = getattr(data, split).labels.copy()
    labels[2] = label
    wrong = data._replace(**{split: Split(data.train.inputs, labels)})
    with pytest.raises(UserError) as refused:
        wrong.check("here")
    assert str(refused.value).startswith(f"here: label {label} of example 2 of its t")
    assert str(refused.value).endswith("expected classes from 0 to 2")


def test_splits_without_examples_are_refused() -> None:
    data = numbered(4)
    with pytest.raises(UserError, match="its test split has 0 inputs and 0 labels"):
        data._replace(test=data.test.first(0)).check("here")
