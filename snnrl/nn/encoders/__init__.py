"""Encoders: from observations to what the first layer takes. One file each."""

from snnrl.nn.encoders.base import Encoder as Encoder
from snnrl.nn.registry import component, import_folder, names

import_folder(__name__, __path__)


def encoders_of_images() -> list[str]:
    """Return the names of the encoders that can precede convolutions."""
    makers = {name: component("encoder", name).maker for name in names("encoder")}
    return [name for name, maker in makers.items() if getattr(maker, "takes_images", False)]
