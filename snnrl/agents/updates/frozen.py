"""Freezing of a network while gradients flow through it."""

from __future__ import annotations

from types import TracebackType

from torch import nn

from snnrl.nn.adaptive import adaptive_modules


class Frozen:
    """Context that freezes a network while gradients flow through it to its inputs.

    Its weights get no gradients and its statistics and thresholds do not move; modes do not change.
    Weights and modules are collected once, so use one instance for all passes.

    :param network: the critic, in the loss of an actor
    """

    def __init__(self, network: nn.Module):
        self._weights = list(network.parameters())
        self._learning: list[nn.Parameter] = []
        self._adaptive = adaptive_modules(network)
        self._frozen = [module.frozen for module in self._adaptive]

    def __enter__(self) -> None:
        self._frozen = [module.frozen for module in self._adaptive]
        for module in self._adaptive:
            module.frozen = True
        self._learning = [weight for weight in self._weights if weight.requires_grad]
        for weight in self._learning:
            weight.requires_grad_(False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for weight in self._learning:
            weight.requires_grad_(True)
        for module, before in zip(self._adaptive, self._frozen, strict=True):
            module.frozen = before
