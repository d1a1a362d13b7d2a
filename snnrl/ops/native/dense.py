"""Products of dense matrices, and networks of linear maps and ReLUs as one operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import c_int64
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnrl.ops.native.arguments import MapPointers, pointer, ready
from snnrl.ops.native.calls import call
from snnrl.ops.native.derivatives import refuse_second_derivatives


def product(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return ``gradient @ weight`` of ``[..., N]`` and ``[N, K]``: ``[..., K]``."""
    outputs, inputs = weight.shape
    weight, gradient = ready(weight, outputs, inputs), ready(gradient, *gradient.shape)
    y = gradient.new_empty(*gradient.shape[:-1], inputs)
    rows = gradient.numel() // max(outputs, 1)
    found = (pointer(gradient), pointer(weight), pointer(y))
    call("snn_product", c_int64(rows), inputs, outputs, *found)
    return y


class Map(NamedTuple):
    """A linear map of a perceptron.

    :param weight, bias: ``[N, K]`` and ``[N]``
    :param rectifies: whether a ReLU follows
    """

    weight: Tensor
    bias: Tensor | None
    rectifies: bool


def values_of(x: Tensor, maps: Sequence[Map]) -> list[Tensor]:
    """Return the values behind each map, ``[B, N]``, of ``x[B, K]``.

    :raises ValueError: widths that do not fit
    """
    batch = len(x)
    values = [x.new_empty(batch, len(each.weight)) for each in maps]
    described, _held = _described(x.shape[1], maps, values)
    call("snn_perceptron", c_int64(batch), pointer(x), len(maps), described)
    return values


def gradients_of(
    x: Tensor,
    maps: Sequence[Map],
    values: Sequence[Tensor | None],
    gradient: Tensor,
    *,
    of_input: bool,
    of_weights: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None], list[Tensor]]:
    """Return the gradients of x, of each weight, and of what each map adds up (whose sum over the
    batch is that of its bias), from that of the last values ``[B, N]``.

    :param values: those of :func:`values_of`; the last may be ``None`` where no ReLU is last
    :param of_input, of_weights: which of them are wanted
    """
    batch = len(x)
    last = ready(gradient, batch, len(maps[-1].weight))
    if maps[-1].rectifies and last.data_ptr() == gradient.data_ptr():
        # The operator writes into it.
        last = last.clone()
    inner = [x.new_empty(batch, len(each.weight)) for each in maps[:-1]]
    dx = torch.empty_like(x) if of_input else None
    dweights = [
        torch.empty_like(each.weight) if wanted else None
        for each, wanted in zip(maps, of_weights, strict=True)
    ]
    described, _held = _described(x.shape[1], maps, values, [*inner, last], dweights)
    call("snn_perceptron_back", c_int64(batch), pointer(x), len(maps), described, pointer(dx))
    return dx, dweights, [*inner, last]


def _described(
    inputs: int,
    maps: Sequence[Map],
    values: Sequence[Tensor | None],
    gradients: Sequence[Tensor] = (),
    dweights: Sequence[Tensor | None] = (),
) -> tuple[Any, list[Any]]:
    """Return the maps as C++ reads them, and what must live as long."""
    described, held = (MapPointers * len(maps))(), list[Any]()
    for i, (to, each) in enumerate(zip(described, maps, strict=True)):
        outputs = len(each.weight)
        weight = ready(each.weight, outputs, inputs)
        bias = None if each.bias is None else ready(each.bias, outputs)
        to.inputs, to.outputs, to.rectifies = inputs, outputs, each.rectifies
        to.weight, to.bias, to.values = weight.data_ptr(), pointer(bias), pointer(values[i])
        if gradients:
            to.g, to.dweight = gradients[i].data_ptr(), pointer(dweights[i])
        held += [weight, bias]
        inputs = outputs
    return described, held


class PerceptronFunction(torch.autograd.Function):
    """Inputs -> outputs of linear maps and ReLUs; see :func:`snnrl.ops.native.perceptron`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rectifies: tuple[bool, ...], *parameters: Tensor | None
    ) -> Tensor:
        x = ready(x, *x.shape)
        maps = _maps(rectifies, parameters)
        values = values_of(x, maps)
        ctx.rectifies, ctx.count = rectifies, len(parameters)
        *inner, last = values
        # Without a ReLU the gradient does not need the output, which the user may then change.
        ctx.save_for_backward(x, *parameters, *inner, last if rectifies[-1] else None)
        return last

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        x, *saved = ctx.saved_tensors
        maps, values = _maps(ctx.rectifies, saved[: ctx.count]), saved[ctx.count :]
        needs_input, _, *needs = ctx.needs_input_grad
        dx, dweights, summed = gradients_of(
            x, maps, values, gradient, of_input=needs_input, of_weights=needs[::2]
        )
        found: list[Tensor | None] = []
        for dweight, g, needs_bias in zip(dweights, summed, needs[1::2], strict=True):
            found += [dweight, g.sum(0) if needs_bias else None]
        return dx, None, *found


def _maps(rectifies: Iterable[bool], parameters: Sequence[Any]) -> list[Map]:
    pairs = zip(parameters[::2], parameters[1::2], rectifies, strict=True)
    return [Map(*each) for each in pairs]


def perceptron(x: Tensor, maps: Sequence[Map]) -> Tensor:
    """Return the outputs ``[B, N]`` of linear maps and ReLUs, of ``x[B, K]``.

    Their products are the BLAS's that torch uses, by blocks of rows: the same bits, on several
    threads.

    :param maps: at least one
    :raises UserError: not float32 on a CPU
    """
    parameters = [parameter for each in maps for parameter in (each.weight, each.bias)]
    rectifies = tuple(each.rectifies for each in maps)
    values: Tensor = PerceptronFunction.apply(x, rectifies, *parameters)  # type: ignore[no-untyped-call]
    return values
