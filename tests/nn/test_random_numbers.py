import copy

import numpy as np
import pytest
import torch

from snnrl.nn.adaptive import frozen
from snnrl.nn.random_numbers import RandomNumbers

WORD = 2**64


def numbers_of(key=0, count=0):
    numbers = RandomNumbers()
    numbers.key.fill_(key)
    numbers.count.fill_(count)
    return numbers.eval()


def mix(z):
    """SplitMix64, from Steele, Lea & Flood (2014), with Python's integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def test_the_hash_is_splitmix64():
    # The first numbers of the generator that starts from 1234567, as published with its code.
    states = [(1234567 + n * 0x9E3779B97F4A7C15) % WORD for n in (1, 2, 3)]
    assert [mix(state) for state in states] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize(("key", "count"), [(0, 0), (-3, 7), (2**63 - 1, 2**40)])
def test_by_hand(key, count):
    golden = 0x9E3779B97F4A7C15
    x = torch.tensor([[0.5, -1.25, 3.0], [0.0, 1e-30, -7e20]])
    bits = x.numpy().view(np.int32).tolist()
    expected = np.empty((4, 2, 3))
    for b, row in enumerate(bits):
        start = sum(mix((value + (k + 1) * golden) % WORD) for k, value in enumerate(row))
        start = mix((start + mix((key + count * golden) % WORD)) % WORD)
        for t in range(4):
            for k in range(3):
                number = mix((start + (t * 3 + k + 1) * golden) % WORD)
                expected[t, b, k] = (number >> 40) / 2**24
    assert numbers_of(key, count).uniform(x, 4).tolist() == expected.tolist()


def test_numbers_are_uniform_and_independent():
    x = torch.randn(2_000, 6, generator=torch.Generator().manual_seed(0))
    drawn = numbers_of().uniform(x, 5)
    n = drawn.numel()
    assert 0 <= drawn.min() < 1e-4
    assert 1 - 1e-4 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    counts = torch.histc(drawn, 16, 0, 1)
    assert ((counts - n / 16) ** 2 / (n / 16)).sum() < 40  # 15 degrees of freedom
    other = [
        numbers_of(key=1).uniform(x, 5),
        numbers_of(count=1).uniform(x, 5),
        # The next number is another input.
        numbers_of().uniform(torch.nextafter(x, torch.tensor(9.0)), 5),
        drawn.roll(1, 0),
        drawn.roll(1, 1),
        drawn.roll(1, 2),
    ]
    for others in other:
        pair = torch.stack([drawn.flatten(), others.flatten()])
        assert abs(torch.corrcoef(pair)[0, 1]) < 5 * n**-0.5


def test_an_input_has_its_numbers_whatever_is_beside_it():
    numbers = numbers_of()
    x = torch.randn(7, 2, 3, 3)
    drawn = numbers.uniform(x, 4)
    assert drawn.shape == (4, 7, 2, 3, 3)
    assert torch.equal(numbers.uniform(x[3:4], 4), drawn[:, 3:4])
    assert torch.equal(numbers.uniform(x.flip(0), 4), drawn.flip(1))
    # The first steps are those of more.
    assert torch.equal(numbers.uniform(x, 2), drawn[:2])


def test_only_a_pass_that_learns_moves_the_count():
    numbers = numbers_of(count=3)
    x = torch.randn(2, 3)
    first = numbers.uniform(x, 2)
    with torch.no_grad():
        numbers.train().uniform(x, 2)
    with frozen(numbers):
        numbers.uniform(x, 2)
    assert numbers.count == 3
    assert torch.equal(numbers.uniform(x, 2), first)
    assert numbers.count == 4
    assert not torch.equal(numbers.uniform(x, 2), first)
    assert numbers.count == 5


def test_the_key_is_seeded_as_weights_are_and_saved_with_the_count():
    torch.manual_seed(5)
    first, second = RandomNumbers(), RandomNumbers()
    torch.manual_seed(5)
    again = RandomNumbers()
    assert first.key == again.key != second.key
    first.count.fill_(12)
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 3)
    assert torch.equal(second.eval().uniform(x, 3), first.eval().uniform(x, 3))
    assert torch.equal(copy.deepcopy(first).uniform(x, 3), first.uniform(x, 3))
