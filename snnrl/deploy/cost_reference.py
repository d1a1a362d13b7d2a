"""The ordinary network beside a spiking one: the same hidden layers, with ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from snnrl.deploy.cost_layers import LayerCost
from snnrl.deploy.cost_maps import pooled, reach_of, weights_of
from snnrl.deploy.cost_meters import EncoderMeter, Meter, SpikingMeter
from snnrl.nn.readouts import PopulationReadout


def reference_of(
    encoder: EncoderMeter, meters: Sequence[Meter], layers: Sequence[LayerCost]
) -> LayerCost | None:
    """Return the cost of the ordinary network with the hidden layers of a spiking one.

    It reads the observation itself, and a linear map makes its outputs. ``None`` for an encoder
    whose inputs have a time axis, which no ordinary network reads.

    :param encoder: of the spiking network
    :param meters: of its policy, which have seen passes
    :param layers: what they counted; ordinary maps in front of the spiking network are the
        reference's too
    """
    network = encoder.network
    if network.encoder.takes_time:
        return None
    before = [layer for layer in layers if layer.kind == "map"]
    macs = int(sum(layer.macs for layer in before))
    parameters = sum(layer.parameters for layer in before)
    sizes = []
    for meter in meters:
        if isinstance(meter, SpikingMeter) and isinstance(meter.layer.linear, nn.Conv2d):
            weights = meter.layer.linear
            macs += _macs_of_images(meter, weights)
            parameters += weights.weight.numel() + weights.out_channels
            sizes.append(weights.out_channels)
    first: int = getattr(network.conv, "features", encoder.inputs)
    dense = [*_hidden(network), _outputs(network)]
    for inputs, outputs in pairwise([first, *dense]):
        macs += inputs * outputs
        parameters += (inputs + 1) * outputs
    hidden = "-".join(map(str, [*sizes, *dense[:-1]]))
    return LayerCost(
        f"ordinary {hidden}".strip(),
        "reference",
        inputs=None,
        outputs=None,
        time_steps=None,
        rate=None,
        dense=float(macs),
        acs=0.0,
        macs=float(macs),
        effective_macs=None,
        normalisation_macs=0.0,
        updates=0.0,
        parameters=parameters,
    )


def _macs_of_images(meter: SpikingMeter, weights: nn.Conv2d) -> int:
    """Return the MACs of a convolution of numbers, which are pooled before they are multiplied."""
    assert meter.seen.total is not None
    seen = pooled(weights, torch.ones_like(meter.seen.total).unsqueeze(0))
    return int(reach_of(weights, seen.shape[1:], behind_pool=True).every.sum())


def _hidden(network: Any) -> list[int]:
    """Return the neurons of each hidden layer."""
    widths = [weights_of(layer.linear).weight.shape[0] for layer in network.layers]
    return widths[:-1] if isinstance(network.decoder, PopulationReadout) else widths


def _outputs(network: Any) -> int:
    """Return the number of outputs."""
    decoder = network.decoder
    by_population = isinstance(decoder, PopulationReadout)
    return len(decoder.weight) if by_population else int(decoder.linear.out_features)
