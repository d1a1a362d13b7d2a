"""What an action costs, layer by layer: numbers of operations, memory and energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MEMORY = {"float32": 4, "8bit": 1}
"""Bytes of a stored number, by format."""


class Energy(NamedTuple):
    """Published energies of operations.

    :param name: in columns of tables
    :param mac: of a multiplication with accumulation, pJ
    :param ac: of an accumulation, pJ
    """

    name: str
    mac: float
    ac: float


ENERGIES = (Energy("45nm", 4.6, 0.9), Energy("measured", 3.97, 0.077))
"""``45nm``: 32-bit floating point in 45 nm (Horowitz, ISSCC 2014), usual in papers on spiking
networks. ``measured``: those of Proxy Target (arXiv 2505.24161), a MAC of measured accelerators and
77 fJ a synaptic operation."""


class LayerCost(NamedTuple):
    """Operations of one action, mean over observations.

    :param name: of the layer
    :param kind: ``encoder``, ``spiking``, ``lateral``, ``readout``, or ``map`` of an ordinary
        network; ``total`` of all, ``reference`` of an ordinary network as a whole
    :param inputs: K; ``None``: of several layers
    :param outputs: N; ``None`` as for the inputs
    :param time_steps: how often the layer is computed; ``None`` as for the inputs
    :param rate: share of neurons and time steps that fire; ``None``: nothing fires
    :param dense: synaptic operations if every input were active in every step, ``K N T`` of a
        matrix
    :param acs: effective accumulations: spikes times the weights, not 0, that each meets
    :param macs: multiplications with accumulation of inputs that are numbers, dense
    :param effective_macs: those of inputs and weights that are not 0; ``None``: the network has
        not been trained, so its zeros are unknown
    :param normalisation_macs: those of a normalisation that does not fold into weights
    :param updates: of neurons: each neuron in each step
    :param parameters: numbers stored
    """

    name: str
    kind: str
    inputs: int | None
    outputs: int | None
    time_steps: int | None
    rate: float | None
    dense: float
    acs: float
    macs: float
    effective_macs: float | None
    normalisation_macs: float
    updates: float
    parameters: int

    def energy(self, constants: Energy) -> float:
        """Return the energy of an action in nJ: dense MACs, effective accumulations."""
        macs = self.macs + self.normalisation_macs
        return (constants.mac * macs + constants.ac * self.acs) / 1000

    def memory(self, number_format: str) -> int:
        """Return the bytes of the stored numbers.

        :param number_format: a key of :data:`MEMORY`
        """
        return MEMORY[number_format] * self.parameters


class Cost(NamedTuple):
    """What an action of a network costs.

    :param layers: in the order in which an observation passes them
    :param observations: number of observations that were averaged over
    :param notes: what is left out, and how the rest is counted, a sentence each
    :param reference: ordinary network of the same sizes; ``None``: the network is ordinary, or an
        ordinary one cannot read these observations
    """

    layers: list[LayerCost]
    observations: int
    notes: list[str]
    reference: LayerCost | None = None

    @property
    def total(self) -> LayerCost:
        """Return the sum of all layers; its rate is that of the neurons of spiking layers."""
        return summed(self.layers, "total", "total")


def summed(layers: Sequence[LayerCost], name: str, kind: str) -> LayerCost:
    """Return the sum of layers."""
    spiking = [layer for layer in layers if layer.kind == "spiking"]
    fired = sum((layer.rate or 0.0) * layer.updates for layer in spiking)
    updates = sum(layer.updates for layer in spiking)

    def over(field: str) -> float:
        return sum((getattr(layer, field) or 0.0) for layer in layers)

    return LayerCost(
        name,
        kind,
        inputs=None,
        outputs=None,
        time_steps=None,
        rate=fired / updates if updates else None,
        dense=over("dense"),
        acs=over("acs"),
        macs=over("macs"),
        effective_macs=over("effective_macs"),
        normalisation_macs=over("normalisation_macs"),
        updates=over("updates"),
        parameters=sum(layer.parameters for layer in layers),
    )
