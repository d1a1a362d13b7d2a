"""Modules some of whose parameters have a learning rate of their own."""

from __future__ import annotations

from torch import nn


class OwnLearningRates(nn.Module):
    """A module that gives its own parameters other learning rates than the weights have.

    List it among the base classes of a neuron, a surrogate, or any other module of a network.
    Agents then put these parameters into groups of their own of the optimiser.
    """

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rates by the name of the parameter; of others it is that of the
        weights."""
        raise NotImplementedError


def own_learning_rates(network: nn.Module) -> dict[nn.Parameter, float]:
    """Return the learning rates of those parameters below ``network`` that have their own."""
    return {
        module.get_parameter(name): rate
        for module in network.modules()
        if isinstance(module, OwnLearningRates)
        for name, rate in module.learning_rates().items()
    }
