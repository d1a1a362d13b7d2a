"""States of environments as earlier versions wrote them: a pickle of each layer's attributes.

Such a pickle did not include the layers themselves. A reference to a layer came back as a copy,
which continued with old rewards, and attributes with the names of gymnasium's own were left out.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import gymnasium

from snnrl.errors import UserError

_LEFT_OUT = ("env", "func")


def load_earlier(state: bytes) -> Any:
    """Return the contents of the state: the attributes of each layer, or the start of an episode.

    :raises UserError: it holds a copy of an environment
    """
    return _Unpickler(io.BytesIO(state)).load()


def set_earlier(layers: Sequence[Any], state: bytes) -> None:
    """Restore the layers, outermost first, from the state.

    :raises UserError: the state is incomplete, or belongs to another environment
    """
    content = load_earlier(state)
    if not isinstance(content, list) or len(content) != len(layers):
        raise UserError("expected the state of an environment with the same wrappers")
    for layer in layers:
        for name in _LEFT_OUT:
            if name in vars(layer) and not _is_of_gymnasium(layer, name):
                raise UserError(_missing_part(f"{type(layer).__name__}.{name}"))
    for layer, saved in zip(layers, content, strict=True):
        if hasattr(layer, "load_state_dict"):
            layer.load_state_dict(saved)
        else:
            vars(layer).update(saved)


def _is_of_gymnasium(layer: Any, name: str) -> bool:
    if name == "env":
        return isinstance(layer, gymnasium.Wrapper)
    return type(layer).__module__.startswith("gymnasium.")


def _missing_part(what: str) -> str:
    return f"an earlier version saved the environment's state, without {what}"


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if isinstance(found, type) and issubclass(found, gymnasium.Env):
            raise UserError(_missing_part(f"what refers to {found.__name__}"))
        return found
