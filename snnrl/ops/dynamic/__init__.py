"""The second-order dynamic neuron."""

from snnrl.ops.dynamic.naive import DynamicConstants, DynamicState, dynamic

__all__ = ["DynamicConstants", "DynamicState", "dynamic"]
