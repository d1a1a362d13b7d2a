"""Target networks, which follow the networks that learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from snnrl.agents.policies.part import AgentPart
from snnrl.nn.adaptive import followed_pairs
from snnrl.nn.random_numbers import RandomNumbers, random_numbers


class TargetNetworks:
    """Target networks whose tensors are paired once with the tensors that they follow.

    Weights follow by ``target <- (1 - tau) target + tau online``, rounded as in
    Stable-Baselines3's ``polyak_update``; the statistics of spiking networks by their strategy's
    ``target_stats``.

    :param networks: pairs (online, target) of the same structure
    :param online_stats: running statistics of torch's own layers in a features extractor
    :param target_stats: the targets' statistics, which are set to copies of these, as in
        Stable-Baselines3
    :raises ValueError: a target has more or fewer weights than what it follows
    """

    def __init__(
        self,
        networks: Iterable[tuple[nn.Module, nn.Module]],
        online_stats: Sequence[Tensor],
        target_stats: Sequence[Tensor],
    ):
        self._weights: list[tuple[list[Tensor], list[Tensor]]] = []
        self._statistics: dict[str, tuple[list[Tensor], list[Tensor]]] = {
            "soft": ([], []),
            "hard": ([], []),
        }
        self._statistics["hard"][0].extend(online_stats)
        self._statistics["hard"][1].extend(target_stats)
        self._numbers: list[RandomNumbers] = []
        moved: set[Tensor] = set()
        for online, target in networks:
            weights: list[Tensor] = list(online.parameters())
            targets: list[Tensor] = list(target.parameters())
            if len(weights) != len(targets):
                raise ValueError(f"{len(targets)} tensors cannot follow {len(weights)}")
            # A features extractor that two networks share moves twice, once with each.
            if not self._weights or not moved.isdisjoint(targets):
                self._weights.append(([], []))
            self._weights[-1][0].extend(weights)
            self._weights[-1][1].extend(targets)
            moved.update(targets)
            self._numbers += random_numbers(target)
            if isinstance(online, AgentPart):
                pair = self._statistics[online.norm.target_stats]
                for ours, theirs in followed_pairs(online, target):
                    pair[0].append(ours)
                    pair[1].append(theirs)

    def draw_anew(self) -> None:
        """Let every target draw other random numbers, as what it follows does once it has learned.

        A target does not learn itself. Without this a transition would get the same draws each time
        that it is replayed.
        """
        for numbers in self._numbers:
            numbers.go_on()

    @torch.no_grad()
    def update(self, tau: float) -> None:
        """Move every target by ``target <- (1 - tau) target + tau online``."""
        for online, targets in self._weights:
            torch._foreach_mul_(targets, 1 - tau)
            torch._foreach_add_(targets, online, alpha=tau)
        online, targets = self._statistics["soft"]
        if targets:
            torch._foreach_lerp_(targets, online, tau)
        online, targets = self._statistics["hard"]
        if targets:
            torch._foreach_copy_(targets, online)
