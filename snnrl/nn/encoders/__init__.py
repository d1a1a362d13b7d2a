"""Encoders: from observations to what the first layer takes. One file each."""

from snnrl.errors import UserError
from snnrl.nn.encoders.base import Encoder as Encoder
from snnrl.nn.registry import Spec, component, import_folder, names, split_spec

import_folder(__name__, __path__)


def encoders_of_images() -> list[str]:
    """Return the names of the encoders of single images, which can precede convolutions."""
    return [
        name for name in names("encoder") if _has(name, "takes_images") and not takes_time(name)
    ]


def takes_time(encoder: Spec) -> bool:
    """Return whether the inputs of an encoder have a time axis.

    :param encoder: name, class or mapping
    """
    return _has(split_spec(encoder, "encoder")[0], "takes_time")


def shape_of_step(encoder: Spec, shape: tuple[int, ...], time_steps: int) -> tuple[int, ...]:
    """Return the shape of what a network sees of an input in each time step.

    :param encoder: name, class or mapping
    :param shape: of an input: ``(T, C, H, W)`` with a time axis, any other without
    :param time_steps: number of time steps T
    :raises UserError: the encoder takes a time axis and the input has none, or the other way round,
        or the input has another number of steps
    """
    name = component("encoder", split_spec(encoder, "encoder")[0]).name
    if takes_time(encoder) != (len(shape) == 4):
        fitting = [each for each in names("encoder") if takes_time(each) == (len(shape) == 4)]
        takes = "frames (T, C, H, W)" if takes_time(encoder) else "inputs without a time axis"
        raise UserError(
            f"encoder={name}: takes {takes}, not an input of shape {tuple(shape)}; expected "
            f"encoder={' or encoder='.join(fitting)}"
        )
    if not takes_time(encoder):
        return shape
    if shape[0] != time_steps:
        raise UserError(
            f"time_steps={time_steps}: encoder={name} takes a frame for each time step, and an "
            f"input has {shape[0]}; expected {shape[0]}"
        )
    return shape[1:]


def _has(encoder: str | type, fact: str) -> bool:
    return bool(getattr(component("encoder", encoder).maker, fact, False))
