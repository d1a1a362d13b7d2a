"""Surrogates: spikes forward, another derivative backward. One file each."""

from snnrl.nn.registry import import_folder
from snnrl.nn.surrogates.base import Surrogate as Surrogate

import_folder(__name__, __path__)
