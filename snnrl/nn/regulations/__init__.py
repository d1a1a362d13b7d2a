"""Regulations: they move firing thresholds by firing rates. One file each."""

from snnrl.nn.registry import import_folder
from snnrl.nn.regulations.base import Regulation as Regulation

import_folder(__name__, __path__)
