"""Encoders: from observations to what the first layer takes. One file each."""

from snnrl.nn.encoders.base import Encoder as Encoder
from snnrl.nn.registry import import_folder

import_folder(__name__, __path__)
