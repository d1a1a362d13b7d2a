"""Normalisation of ordinary networks: between linear maps and activations."""

from __future__ import annotations

from itertools import islice

from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.norm import Norm, NormStrategy, make_strategy
from snnrl.nn.registry import Spec, names
from snnrl.nn.shape import LayerShape


class NormalisedLayer(nn.Module):
    """Linear map or convolution, normalisation, activation.

    :param linear: ``nn.Linear``, or ``nn.Conv2d`` for images
    :param norm: normalisation of its outputs
    :param activation: such as ReLU
    """

    def __init__(self, linear: nn.Module, norm: Norm, activation: nn.Module):
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, N, ...]`` of ``x[B, ...]``."""
        # The first dimension of a normalisation's input is time: here one step.
        currents = self.linear(x).unsqueeze(0)
        outputs: Tensor = self.activation(self.norm(currents).squeeze(0))
        return outputs


class NormalisedStack(nn.Module):
    """Normalised layers, and what follows them.

    :param layers: by their names in tables, ``0``, ``1``, ...
    :param rest: such as the output layer
    """

    def __init__(self, layers: dict[str, NormalisedLayer], rest: nn.Sequential):
        super().__init__()
        self.layers = nn.Sequential()
        for name, layer in layers.items():
            self.layers.add_module(name, layer)
        self.rest = rest

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, ...]`` of ``x[B, ...]``."""
        outputs: Tensor = self.rest(self.layers(x))
        return outputs


def normalised(
    stack: nn.Sequential, strategy: NormStrategy, hidden: int | None = None, first: int = 0
) -> NormalisedStack:
    """Return a stack of layers with a normalisation in each: the same weights, between maps and
    activations.

    gamma starts at 1 and beta at 0, as in torch: there is no firing threshold to start from.

    :param stack: maps, each with its activation behind it, and what follows
    :param hidden: number of maps to normalise, ``None``: all
    :param first: number of the first one in tables
    :raises UserError: there is none
    """
    modules = list(stack)
    maps = [i for i, each in enumerate(modules) if isinstance(each, nn.Linear | nn.Conv2d)]
    chosen = list(islice(maps, hidden))
    if not chosen:
        raise UserError(
            f"bn={strategy.name}: no hidden layer to normalise; expected net_arch with one, or "
            "bn=none"
        )
    layers = {
        str(first + n): NormalisedLayer(modules[i], _norm(modules[i], strategy), modules[i + 1])
        for n, i in enumerate(chosen)
    }
    return NormalisedStack(layers, nn.Sequential(*modules[chosen[-1] + 2 :]))


def _norm(linear: nn.Module, strategy: NormStrategy) -> Norm:
    assert isinstance(linear, nn.Linear | nn.Conv2d)
    is_image = isinstance(linear, nn.Conv2d)
    features = linear.out_channels if isinstance(linear, nn.Conv2d) else linear.out_features
    norm = strategy.make(LayerShape(features, time_steps=1, is_image=is_image), threshold=1.0)
    for name, start in (("gamma", 1.0), ("beta", 0.0)):
        if (parameter := norm._parameters.get(name)) is not None:
            nn.init.constant_(parameter, start)
    if not strategy.layer.linear_bias:
        linear.bias = None
    return norm


def ordinary_strategy(spec: Spec, key: str = "bn") -> NormStrategy | None:
    """Make the strategy of an ordinary network; ``None`` for ``none``.

    :param key: of the setting, for the error
    :raises UserError: as :func:`make_strategy`, or a normalisation of what only spiking networks
        have
    """
    strategy = make_strategy(spec)
    if strategy.name == "none":
        return None
    if (needed := strategy.layer.needs_spikes()) is not None:
        fitting = [n for n in names("norm") if make_strategy(n).layer.needs_spikes() is None]
        raise UserError(
            f"{key}={strategy.name}: needs {needed}, which an ordinary network lacks; expected "
            f"one of {', '.join(fitting)}"
        )
    return strategy
