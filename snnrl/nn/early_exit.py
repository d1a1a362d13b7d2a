"""Early exit: networks with batch normalisation through time that leave out their last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.lateral import LATERALS
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm.bntt import BatchNormThroughTime
from snnrl.parameters import Above, parameters_of

STATISTICS = ("moving_mean", "moving_var")


def relative_gammas(network: SpikingNetwork) -> Tensor:
    """Return the mean gamma of each layer and step, divided by the firing threshold: ``[L, T]``.

    :raises UserError: a layer that is not normalised by BNTT, or connections with a bias
    """
    return torch.stack(
        [
            norm.gamma.detach().mean(1) / layer.neuron.threshold.level()
            for layer, norm in zip(network.stack(), _norms(network), strict=True)
        ]
    )


def exit_step(network: SpikingNetwork, limit: Annotated[float, Above(0)] = 0.1) -> int:
    """Return the number of time steps that the network takes with early exit.

    It leaves at the first step in which the mean of gamma, divided by the firing threshold, is
    below the limit in every layer. The mean is signed, as in the source, so gammas of opposite sign
    cancel: neurons could still spike there. That step and those after it are left out. The number
    does not depend on the input. Without such a step all are taken. At least one is, which is our
    choice.

    Source: BNTT (Kim & Panda 2020, arXiv 2010.01729); which steps exactly are left out, and the
    limit, are known from secondary texts alone.

    :param limit: bound of gamma in thresholds
    :raises UserError: a layer that is not normalised by BNTT, connections with a bias, or a limit
        that is not above 0
    """
    parameters_of(exit_step)["limit"].check("early exit limit", limit)
    below = (relative_gammas(network) < limit).all(0).tolist()
    return max(1, below.index(True)) if True in below else len(below)


@contextmanager
def leaving_after(network: SpikingNetwork, steps: int) -> Iterator[None]:
    """Context in which passes of ``network`` take the first ``steps`` of its time steps.

    Each step keeps its gamma and its statistics. The readout sees all time steps, as in training,
    and no spikes in those that are left out: firing rates are shares of all steps, and a membrane
    readout goes on to decay and to add its bias. So leaving a silent step out changes nothing.

    A step whose gammas are near 0 need not be silent: a neuron can fire there by the potential
    that it kept, and with connections by the spikes of the step before. Connections with a bias
    could fire in every step, and are refused.

    :raises UserError: a layer that is not normalised by BNTT, or connections with a bias; from a
        pass that learns
    """
    norms = _norms(network)
    whole = [(norm, norm.gamma, *(getattr(norm, name) for name in STATISTICS)) for norm in norms]
    before = network.taken
    try:
        network.taken = steps
        for norm in norms:
            # Views: a re-calibration inside reaches the statistics themselves.
            norm.gamma = nn.Parameter(norm.gamma.detach()[:steps], requires_grad=False)
            for name in STATISTICS:
                setattr(norm, name, getattr(norm, name)[:steps])
        yield
    finally:
        network.taken = before
        for norm, gamma, mean, var in whole:
            norm.gamma, norm.moving_mean, norm.moving_var = gamma, mean, var


def _norms(network: SpikingNetwork) -> list[BatchNormThroughTime]:
    norms = [layer.norm for layer in network.stack()]
    known = [norm for norm in norms if isinstance(norm, BatchNormThroughTime)]
    if not norms or len(known) < len(norms):
        other = next((type(norm).__name__ for norm in norms if norm not in known), "no layer")
        raise UserError(
            f"early exit: needs batch normalisation through time in every layer, not {other}; "
            "expected an agent trained with bn=bntt"
        )
    for layer in network.stack():
        if layer.lateral is not None and layer.lateral.bias is not None:
            fitting = [name for name, variant in LATERALS.items() if not variant.biased]
            raise UserError(
                f"early exit: lateral={layer.lateral.name} adds a bias in every step, also where "
                f"gamma is near 0; expected an agent trained with lateral=none, "
                f"{', '.join(fitting)}"
            )
    return known
