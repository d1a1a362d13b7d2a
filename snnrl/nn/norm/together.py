"""Moving statistics of all layers of a network, moved at the end of a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from snnrl.nn.norm.base import Norm
from snnrl.nn.norm.batch import BatchNorm
from snnrl.nn.operators import Operators
from snnrl.ops.confidence import ConfidenceRule, MovedLayer


@contextmanager
def moved_together(norms: Iterable[Norm], ops: Operators) -> Iterator[None]:
    """Context of a pass at whose end one operator moves the statistics of all layers.

    A rule of a layer is some 26 small operators, whose launches take longer on a GPU than all else
    that the layer does. No layer reads the statistics that another one moves, nor its own again in
    the same pass, so it does not matter when they move. Layers whose rule has no operator move
    theirs as ever. After an exception nothing that waits is moved.

    :param norms: normalisations of the layers
    :param ops: operators that move statistics
    """
    waiting: list[tuple[ConfidenceRule, MovedLayer]] = []
    own = [vars(norm) for norm in norms if isinstance(norm, BatchNorm)]
    for attributes in own:
        attributes["waiting"] = waiting
    try:
        yield
    finally:
        for attributes in own:
            del attributes["waiting"]
    by_rule: dict[ConfidenceRule, list[MovedLayer]] = {}
    for rule, layer in waiting:
        by_rule.setdefault(rule, []).append(layer)
    with torch.no_grad():
        for rule, layers in by_rule.items():
            ops.move_statistics(layers, rule)
