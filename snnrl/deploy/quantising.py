"""Policies with 8-bit weights and integer membranes."""

from __future__ import annotations

import numpy as np

from snnrl.deploy.runtime import ONE, IntegerLayer, Layer, Policy
from snnrl.errors import UserError

LARGEST = 127

SHIFT = 8
"""Bits of a membrane below one step of a weight, so that decays round little."""


def quantise(policy: Policy, bits: int = 8) -> Policy:
    """Return a policy whose layers are integers, symmetric about 0, with one scale a layer.

    ``W = scale q`` with ``scale = max |W| / 127`` and ``q`` rounded to the nearest; biases and
    thresholds are rounded to ``scale / 256``, the unit of the membranes. Encoder, readout and head
    stay in single precision: they run once an action. Source: symmetric weights of 8 bits as
    PopSAN's on Loihi (Tang et al. 2020).

    :param bits: 8
    :raises UserError: another number, inputs that are not spikes, or a layer that does not fit
    """
    if bits != 8:
        raise UserError(f"--bits {bits}: expected 8")
    if policy.encoder.threshold is None:
        raise UserError(
            "--bits 8: the first layer's inputs are currents and not spikes; expected "
            "encoder=population"
        )
    layers = tuple(
        _layer(f"layers.{i}", each, policy.time_steps) for i, each in enumerate(policy.layers)
    )
    return policy._replace(layers=layers)


def _layer(name: str, layer: Layer | IntegerLayer, time_steps: int) -> IntegerLayer:
    if isinstance(layer, IntegerLayer):
        return layer
    if layer.neuron not in ("lif", "clif"):
        raise UserError(
            f"--bits 8: {name} has dynamic neurons, whose squares overflow; expected neuron=lif, "
            "clif or plif"
        )
    if layer.gain is not None or layer.bias.ndim == 2:
        raise UserError(
            f"--bits 8: {name} is normalised otherwise in each time step; expected one set of "
            "constants, such as bn=carebn"
        )
    if not all(np.isfinite(each).all() for each in (layer.weight, layer.bias, layer.threshold)):
        raise UserError(f"--bits 8: {name} has a weight that is not finite; expected finite ones")
    largest = float(np.abs(layer.weight).max())
    scale = largest / LARGEST if largest > 0 else 1.0
    unit = scale / 2**SHIFT
    weight = np.rint(layer.weight / scale).astype(np.int8)
    bias, threshold = (np.rint(each / unit) for each in (layer.bias.astype(float), layer.threshold))
    # What an input can be at most, added up in every step; twice where currents are kept too.
    inputs = np.abs(weight.astype(float)).sum(1) * 2**SHIFT + np.abs(bias)
    most = inputs.max() * time_steps ** (2 if layer.neuron == "clif" else 1)
    if max(most, np.abs(threshold).max()) >= 2**31:
        raise UserError(
            f"--bits 8: the membranes of {name} can become larger than 32 bits hold; expected "
            "--format numpy or c without --bits"
        )
    return IntegerLayer(
        weight=weight,
        bias=bias.astype(np.int32),
        threshold=threshold.astype(np.int32),
        neuron=layer.neuron,
        numerators={key: round(value * ONE) for key, value in layer.constants.items()},
        shift=SHIFT,
        unit=unit,
    )
