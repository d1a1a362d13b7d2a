"""From the reference's names and layout to ours."""

from __future__ import annotations

import re

import torch
from torch import Tensor

TOLERANCE = dict(rtol=1e-4, atol=1e-5)


def close(actual: Tensor, expected: Tensor, **tolerance: float) -> None:
    torch.testing.assert_close(
        actual, expected.to(actual.dtype).reshape(actual.shape), **(tolerance or TOLERANCE)
    )


def own_name(reference: str, layers: int) -> str:
    """Name of a reference actor's parameter in :class:`snnrl.nn.networks.SpikingNetwork`."""
    last = layers - 1
    name = reference.replace("decoder.decoder", "decoder")
    name = name.replace("snn.out_pop_layer", f"layers.{last}.linear")
    name = name.replace("snn.out_pop_norm", f"layers.{last}.norm")
    name = name.replace("snn.conn", f"layers.{last}.lateral")
    name = re.sub(r"snn\.hidden_layers\.(\d+)", r"layers.\1.linear", name)
    return re.sub(r"snn\.hidden_norms\.(\d+)", r"layers.\1.norm", name)


def part(recording: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The arrays under ``prefix.``, by the reference's names."""
    return {
        k.removeprefix(prefix + "."): v for k, v in recording.items() if k.startswith(prefix + ".")
    }


def own_state(reference: dict[str, Tensor], into: dict[str, Tensor]) -> dict[str, Tensor]:
    """``into`` (a state dict of a network) with every array of the reference put in its place."""
    layers = 1 + max(int(m[1]) for k in into if (m := re.match(r"layers\.(\d+)", k)))
    state = dict(into)
    for name, value in reference.items():
        ours = own_name(name, layers)
        state[ours] = value.reshape(state[ours].shape)
    return state
