"""Neurons: parameters and a call into :mod:`snnrl.ops`, which has the equations. One file each."""

from snnrl.nn.neurons.base import Neuron as Neuron
from snnrl.nn.neurons.base import make_neuron as make_neuron
from snnrl.nn.registry import import_folder

import_folder(__name__, __path__)
