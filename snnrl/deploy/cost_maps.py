"""How many outputs each input of a linear map reaches, counted by the map itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnrl.nn.convolution import PooledImages
from snnrl.nn.layers import PooledConv2d


class Reach(NamedTuple):
    """Operations of one call of a map with one input.

    :param every: outputs that each input reaches, of any weight, ``[*shape]``
    :param by_weights: the same of weights that are not 0
    :param outputs: number of outputs
    """

    every: Tensor
    by_weights: Tensor
    outputs: int


def is_map(module: nn.Module) -> bool:
    """Return whether the operations of a module are known: a linear map, a convolution, or either
    behind an average pooling, as spiking layers have it."""
    if isinstance(module, nn.Sequential):
        return len(module) == 2 and isinstance(module[0], PooledImages) and is_map(module[1])
    return type(module).forward in (nn.Linear.forward, nn.Conv2d.forward, PooledConv2d.forward)


def weights_of(module: nn.Module) -> nn.Linear | nn.Conv2d:
    """Return the map itself, behind its pooling."""
    last = module[1] if isinstance(module, nn.Sequential) else module
    assert isinstance(last, nn.Linear | nn.Conv2d)
    return last


def rows(module: nn.Module, x: Tensor) -> Tensor:
    """Return inputs ``[..., *shape]`` of a map as ``[R, *shape]``."""
    dimensions = 3 if isinstance(module, nn.Conv2d) else 1
    return x.reshape(-1, *x.shape[x.dim() - dimensions :])


def pooled(module: nn.Module, x: Tensor) -> Tensor:
    """Return inputs ``[R, *shape]`` as they are behind the map's pooling, if it has one."""
    if isinstance(module, PooledConv2d):
        return F.avg_pool2d(x, module.pool)
    return module[0](x) if isinstance(module, nn.Sequential) else x


@torch.no_grad()
def reach_of(module: nn.Module, shape: torch.Size, *, behind_pool: bool) -> Reach:
    """Return how many outputs each input of a map reaches.

    The derivative of the map's sum, with 1 for each weight and sums for averages, so strides,
    borders and what a pooling drops are those of the operator itself.

    :param shape: of one input
    :param behind_pool: whether it is of inputs that are pooled already
    """
    weight = weights_of(module).weight
    every, outputs = _derivative(module, torch.ones_like(weight), shape, behind_pool)
    by_weights, _ = _derivative(module, weight != 0, shape, behind_pool)
    return Reach(every, by_weights, outputs)


def _derivative(
    module: nn.Module, weight: Tensor, shape: torch.Size, behind_pool: bool
) -> tuple[Tensor, int]:
    last = weights_of(module)
    with torch.enable_grad():
        x = torch.ones(1, *shape, dtype=torch.float64, device=weight.device, requires_grad=True)
        seen = x if behind_pool else _summed(module, x)
        if isinstance(last, nn.Linear):
            outputs = F.linear(seen, weight.double())
        else:
            outputs = last._conv_forward(seen, weight.double(), None)
        (reached,) = torch.autograd.grad(outputs.sum(), x)
    return reached[0], outputs.numel()


def _summed(module: nn.Module, x: Tensor) -> Tensor:
    """Return inputs ``[1, *shape]`` summed, not averaged, over the squares of the map's pooling."""
    if isinstance(module, PooledConv2d):
        return F.avg_pool2d(x, module.pool, divisor_override=1)
    if isinstance(module, nn.Sequential):
        images = module[0]
        assert isinstance(images, PooledImages)
        whole = x.reshape(1, *images.shape)
        return F.avg_pool2d(whole, images.pool, divisor_override=1).flatten(1)
    return x
