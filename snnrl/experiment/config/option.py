"""Declaration of a setting."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from omegaconf import MISSING


def option(
    meaning: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    empty: type | None = None,
    default: Any = MISSING,
) -> Any:
    """Declare a setting without a value of its own, which comes from ``configs/``.

    :param meaning: one line for ``--help``
    :param minimum: smallest allowed value
    :param above: the value must be larger than this
    :param maximum: largest allowed value
    :param choices: allowed values
    :param default: value if no file has one, such as that of a user's own environment
    :param empty: ``dict`` or ``list``, whose empty instance is the value: for settings checked
        elsewhere
    """
    bounds = {"minimum": minimum, "above": above, "maximum": maximum, "choices": choices}
    metadata = {"meaning": meaning, **bounds}
    if empty is not None:
        return field(default_factory=empty, metadata=metadata)
    return field(default=default, metadata=metadata)
