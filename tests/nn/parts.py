"""Parts of a layer by themselves."""

from __future__ import annotations

from typing import Any

import torch

from snnrl.nn.adaptive import followed_pairs
from snnrl.nn.neurons import Neuron
from snnrl.nn.neurons import make_neuron as make_neuron_of_shape
from snnrl.nn.norm import Norm, make_strategy
from snnrl.nn.registry import names
from snnrl.nn.shape import LayerShape

NEURONS, SURROGATES, NORMS = names("neuron"), names("surrogate"), names("norm")

FUSED_NORMS = [name for name in NORMS if not make_strategy(name).layer.of_membranes]

FUSED_SURROGATES = ["rectangular", "sigmoid", "tanh", "triangle", "atan", "fast_sigmoid"]


def make_neuron(spec: Any, surrogate: Any = "rectangular", features: int = 1) -> Neuron:
    return make_neuron_of_shape(spec, surrogate, LayerShape(features, 5))


FUSED_NEURONS = [name for name in NEURONS if make_neuron(name).known() is not None]


def make_norm(spec: Any, features: int, threshold: float = 0.5, steps: int = 5) -> Norm:
    return make_strategy(spec).make(LayerShape(features, steps), threshold)


@torch.no_grad()
def follow(online: torch.nn.Module, target: torch.nn.Module, share: float) -> None:
    for ours, theirs in followed_pairs(online, target):
        theirs.lerp_(ours, share)
