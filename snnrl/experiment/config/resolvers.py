"""Resolvers: values in ``configs/`` that depend on other choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from snnrl.experiment.config import facts
from snnrl.experiment.config.choices import on_policy, usual_normalisation


def _off_policy(steps: int, *, _root_: DictConfig) -> int | str:
    """Return a number of steps, or ``auto`` for an agent without a replay buffer."""
    return "auto" if on_policy(_root_) else steps


def _where_recalibrated(
    steps: int, *, _parent_: DictConfig, _root_: DictConfig
) -> int | str | None:
    """Return :func:`_off_policy`, or ``None`` for a strategy that does not re-calibrate."""
    if usual_normalisation(_parent_.name)["recalibrate_every"] is None:
        return None
    return _off_policy(steps, _root_=_root_)


def _where_confident(value: float, *, _parent_: DictConfig, _root_: DictConfig) -> float | None:
    """Return a setting of the confidence rule, or ``None`` where that rule is not used."""
    if usual_normalisation(_parent_.name)["rule"] != "confidence":
        return None
    replaced = _parent_.recalibrate_every is not None
    return None if replaced and on_policy(_root_) else value


def _proxy(setting: str, *, _root_: DictConfig) -> Any:
    """Return a setting of the proxy that was published for the actor's neuron."""
    return facts.proxies(_root_.neuron.name if _root_.actor.name == "spiking" else None)[setting]


def _times(count: int, size: int) -> int:
    return count * size


RESOLVERS: dict[str, Callable[..., Any]] = {
    "off_policy": _off_policy,
    "where_recalibrated": _where_recalibrated,
    "where_confident": _where_confident,
    "proxy": _proxy,
    "times": _times,
}
"""Resolvers by name, as in ``${off_policy:5000}``."""
