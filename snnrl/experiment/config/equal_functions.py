"""Settings that differ by name and compute the same function: a sweep over them compares a run with
itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config import facts
from snnrl.experiment.config.choices import on_policy, spiking_parts
from snnrl.experiment.config.label import settings_hash
from snnrl.run_format.equal_neurons import canonical_neuron


def check_functions(configs: Iterable[DictConfig]) -> None:
    """Refuse a sweep in which two settings compute the same function.

    :param configs: checked configurations of the runs
    :raises UserError: two of them do
    """
    first: dict[str, DictConfig] = {}
    for cfg in configs:
        other = first.setdefault(settings_hash(_canonical_form(cfg)), cfg)
        if settings_hash(other) != settings_hash(cfg):
            one, two = _differ(other, cfg)
            raise UserError(
                f"{one} and {two}: compute the same function with the other settings of this "
                "sweep, which would compare it with itself; expected only one of them"
            )


def _canonical_form(cfg: DictConfig) -> DictConfig:
    """Return the configuration in a canonical form of those that compute the same function.

    ``1 - tanh(k x)^2`` is ``4 y (1 - y)`` with ``y = sigmoid(2 k x)``. Its peak is 1 whatever the
    slope; that of the sigmoid's ``k y (1 - y)`` is a quarter of the slope. With a slope of 4 they
    are the same function. An agent that learns from rollouts replaces the statistics at each one,
    so the rule that would move them has no effect. Some neurons are another at certain constants.
    """
    # Without the types of the settings, as one choice becomes another.
    values: Any = OmegaConf.to_container(cfg)
    cfg = DictConfig(values)
    constant = cfg.surrogate.get("scale_end") is None
    if cfg.surrogate.name == "tanh" and cfg.surrogate.scale == 2 and constant:
        cfg.surrogate.name, cfg.surrogate.scale = "sigmoid", 4.0
    cfg.neuron = _canonical_neuron(cfg)
    if on_policy(cfg):
        for place in ("bn", "critic.bn"):
            bn = OmegaConf.select(cfg, place)
            if bn is not None and bn.get("recalibrate_every") is not None:
                bn.rule = "ema"
                if "rule" in facts.components()["bn"][bn.name].says:
                    bn.name = "re_only"
    return cfg


def _canonical_neuron(cfg: DictConfig) -> dict[str, Any]:
    """Return the neuron's settings in a canonical form.

    A learning rate of ``plif`` that is that of all weights is none of its own.
    """
    neuron = canonical_neuron({str(key): value for key, value in cfg.neuron.items()})
    if neuron["name"] == "plif" and _rates(cfg) == {neuron["learning_rate"]}:
        neuron["learning_rate"] = None
    return neuron


def _rates(cfg: DictConfig) -> set[float]:
    """Return the learning rates of the weights of spiking networks."""
    keys = {"actor": "learning_rate", "critic": "critic_learning_rate"}
    return {cfg.algo.get(keys[part]) or cfg.algo.learning_rate for part in spiking_parts(cfg)}


def _differ(one: DictConfig, other: DictConfig) -> tuple[str, str]:
    """Return the choice in which two configurations of the same function differ, as each writes
    it."""
    for key, written in (
        ("neuron.name", "neuron"),
        ("neuron.learning_rate", "neuron.learning_rate"),
        ("surrogate.name", "surrogate"),
        ("bn.name", "bn"),
        ("critic.bn.name", "bn@critic.bn"),
        ("bn.rule", "bn.rule"),
        ("critic.bn.rule", "critic.bn.rule"),
    ):
        values = [OmegaConf.select(cfg, key) for cfg in (one, other)]
        if values[0] != values[1]:
            first, second = ("null" if value is None else value for value in values)
            return f"{written}={first}", f"{written}={second}"
    raise AssertionError("two configurations of one function have no known difference")
