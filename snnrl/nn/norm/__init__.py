"""Normalisation: layers, update rules of their moving statistics, and their schedule.

One file per layer (:class:`Norm`), one per rule.
"""

from snnrl.nn.norm.base import Norm as Norm
from snnrl.nn.norm.batch import BatchNorm as BatchNorm
from snnrl.nn.norm.batch import norm_layers as norm_layers
from snnrl.nn.norm.recalibration import recalibrating as recalibrating
from snnrl.nn.norm.strategy import NormStrategy as NormStrategy
from snnrl.nn.norm.strategy import make_strategy as make_strategy
from snnrl.nn.registry import import_folder

import_folder(__name__, __path__)
