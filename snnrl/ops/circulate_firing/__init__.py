"""Neurons that fire in rounds, with spikes of either sign."""

from snnrl.ops.circulate_firing.naive import (
    CirculateFiringConstants,
    CirculateFiringState,
    circulate_firing,
    fire_in_rounds,
    fired,
)

__all__ = [
    "CirculateFiringConstants",
    "CirculateFiringState",
    "circulate_firing",
    "fire_in_rounds",
    "fired",
]
