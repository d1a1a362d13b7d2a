"""Random numbers that are a function of a key, a count and an input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnrl.nn.adaptive import Adaptive

GAMMA = 0x9E3779B97F4A7C15 - 2**64
"""The odd number nearest to 2**64 divided by the golden ratio, as a signed number."""


class RandomNumbers(Adaptive):
    """A counter-based generator (Salmon et al. 2011): ``hash(key, count, input, place)``.

    The hash is SplitMix64 (Steele, Lea & Flood 2014). ``key`` comes from torch's global generator
    as weights do, so the seed of an agent decides it. ``count`` goes up by one in each pass that
    learns. Both are buffers, so they are saved with the weights.

    In every other pass nothing moves: the numbers of an input are always the same, and those of two
    different inputs are independent. This choice is ours; elsewhere each pass draws anew. It leaves
    training's numbers alone while an agent acts, evaluates, re-calibrates or records. An
    observation has one deterministic action, whatever the batch around it. And PPO compares the
    probabilities of an action under the same numbers.
    """

    key: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("key", torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def go_on(self) -> None:
        """Move the count, so that the next numbers are others."""
        self.count.add_(1)

    def uniform(self, x: Tensor, steps: int) -> Tensor:
        """Return numbers in [0, 1) for each step and each number of an input.

        :param x: inputs ``[B, ...]``
        :param steps: T
        :return: ``[T, B, ...]``, multiples of 2**-24
        """
        bits = x.detach().to(torch.float32).contiguous().view(torch.int32).flatten(1)
        inputs = bits.shape[1]
        places = GAMMA * torch.arange(1, steps * inputs + 1, device=x.device).view(steps, inputs)
        start = _mix(places[0] + bits).sum(1) + _mix(self.key + GAMMA * self.count)
        start = _mix(start)[:, None]
        if self.learns():
            self.go_on()
        # Step by step: whole images over all steps do not fit into a cache.
        numbers = torch.stack([_fraction(_mix(start + step)) for step in places])
        return numbers.view(steps, *x.shape)


def random_numbers(network: nn.Module) -> list[RandomNumbers]:
    """Return the generators in ``network``."""
    return [module for module in network.modules() if isinstance(module, RandomNumbers)]


def _mix(z: Tensor) -> Tensor:
    """Return the hash of 64-bit integers, in their place; products wrap around."""
    z.bitwise_xor_(_shifted(z, 30)).mul_(0xBF58476D1CE4E5B9 - 2**64)
    z.bitwise_xor_(_shifted(z, 27)).mul_(0x94D049BB133111EB - 2**64)
    return z.bitwise_xor_(_shifted(z, 31))


def _shifted(z: Tensor, n: int) -> Tensor:
    # torch copies the sign into the free bits.
    return (z >> n).bitwise_and_((1 << 64 - n) - 1)


def _fraction(z: Tensor) -> Tensor:
    """Return the upper 24 bits as a number in [0, 1)."""
    return _shifted(z, 40).to(torch.float32).mul_(2.0**-24)
