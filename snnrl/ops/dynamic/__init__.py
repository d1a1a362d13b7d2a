"""The second-order dynamic neuron."""

from snnrl.ops.dynamic.naive import DynamicParameters, DynamicState, dynamic

__all__ = ["DynamicParameters", "DynamicState", "dynamic"]
