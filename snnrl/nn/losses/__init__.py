"""Terms added to a part's loss. One file each."""

from snnrl.nn.losses.base import LossTerm as LossTerm
from snnrl.nn.losses.base import Pass as Pass
from snnrl.nn.losses.base import watched as watched
from snnrl.nn.registry import import_folder

import_folder(__name__, __path__)
