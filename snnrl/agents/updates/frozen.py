"""A network that a loss passes through and that does not learn from it."""

from __future__ import annotations

from types import TracebackType

from torch import nn

from snnrl.nn.norm import norm_layers


class Frozen:
    """Inside ``with Frozen(network):`` passes of ``network`` are functions of their inputs alone.

    No gradients are computed for its weights, and its pooled layers normalise with their moving
    statistics, which do not change; the mode of everything else stays as it is. Weights and layers
    are collected once; use it again for each pass.

    :param network: the critic, in the loss of an actor
    """

    def __init__(self, network: nn.Module):
        self._weights = list(network.parameters())
        self._learning: list[nn.Parameter] = []
        self._layers = norm_layers(network)
        self._modes = [layer.training for layer in self._layers]

    def __enter__(self) -> None:
        self._modes = [layer.training for layer in self._layers]
        for layer in self._layers:
            layer.training = False
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
        for layer, mode in zip(self._layers, self._modes, strict=True):
            layer.training = mode
