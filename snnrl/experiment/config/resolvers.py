"""Values in ``configs/`` that follow from other choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from snnrl.experiment.config.choices import on_policy, usual_normalisation


def _off_policy(steps: int, *, _root_: DictConfig) -> int | str:
    """A number of steps, or ``auto`` for an agent without a replay buffer to draw from."""
    return "auto" if on_policy(_root_) else steps


def _where_recalibrated(
    steps: int, *, _parent_: DictConfig, _root_: DictConfig
) -> int | str | None:
    """As ``off_policy``, but nothing for a strategy that does not re-calibrate."""
    if usual_normalisation(_parent_.name)["recalibrate_every"] is None:
        return None
    return _off_policy(steps, _root_=_root_)


def _where_confident(value: float, *, _parent_: DictConfig, _root_: DictConfig) -> float | None:
    """A setting of the confidence rule, nothing where that rule is not asked."""
    if usual_normalisation(_parent_.name)["rule"] != "confidence":
        return None
    replaced = _parent_.recalibrate_every is not None
    return None if replaced and on_policy(_root_) else value


RESOLVERS: dict[str, Callable[..., Any]] = {
    "off_policy": _off_policy,
    "where_recalibrated": _where_recalibrated,
    "where_confident": _where_confident,
}
"""Values in ``configs/`` that follow from other choices, as in ``${off_policy:5000}``."""
