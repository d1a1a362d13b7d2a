"""A normalisation with its schedule: re-calibration, and updates of the targets' statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

from snnrl.errors import UserError, expect
from snnrl.nn.norm.base import Norm
from snnrl.nn.norm.batch import BatchNorm
from snnrl.nn.norm.rules import ONLY_WITH_RULE
from snnrl.nn.registry import CONTEXT, GROUPS, Spec, component, split_spec
from snnrl.nn.shape import LayerShape
from snnrl.nn.trial import try_component
from snnrl.parameters import Above, AtLeast, check_given, parameters_of


@dataclass(frozen=True)
class Schedule:
    """Schedule of the statistics besides training.

    :param recalibrate_every: environment steps between re-calibrations (null: never; PPO: auto, at
        each rollout)
    :param recalibrate_batches: replay minibatches in a re-calibration
    :param target_stats: how target networks' statistics follow
    :param refresh_kl: bound on the divergence by which a refresh of PPO's actor moves the policy
        (null: none)
    """

    recalibrate_every: Annotated[int, AtLeast(1)] | Literal["auto"] | None = None
    recalibrate_batches: Annotated[int, AtLeast(1)] = 100
    target_stats: Literal["soft", "hard"] = "soft"
    refresh_kl: Annotated[float, Above(0)] | None = None


@dataclass(frozen=True)
class NormStrategy:
    """A normalisation of every layer, and its schedule.

    :param name: of the choice
    :param layer: class of the layers
    :param parameters: of a layer, all of them by name
    :param schedule: re-calibration and targets
    """

    name: str
    layer: type[Norm]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule = Schedule()

    @property
    def recalibrate_every(self) -> int | Literal["auto"] | None:
        """Return the environment steps between re-calibrations; ``None``: never, ``auto``: at each
        rollout."""
        return self.schedule.recalibrate_every

    @property
    def recalibrate_batches(self) -> int:
        """Return the minibatches that a re-calibration pools."""
        return self.schedule.recalibrate_batches

    @property
    def target_stats(self) -> str:
        """Return the update of target networks' statistics, ``soft`` or ``hard``."""
        return self.schedule.target_stats

    @property
    def refresh_kl(self) -> float | None:
        """Return the bound on the divergence of a refresh; ``None``: there is none."""
        return self.schedule.refresh_kl

    @property
    def rule(self) -> str:
        """Return the rule that updates the statistics; ``none`` without moving ones."""
        return str(self.parameters.get("rule", "none"))

    def settings(self) -> dict[str, Any]:
        """Return every parameter of the layer and of the schedule by name."""
        return {**self.parameters, **vars(self.schedule)}

    def make(self, shape: LayerShape, threshold: float) -> Norm:
        """Return the layer to place before neurons with this threshold."""
        make = partial(self.layer, shape, threshold, **self.parameters)
        try_component(f"{GROUPS['norm']}={self.name}", "norm", self.layer, make, {"shape": shape})
        return make()


def make_strategy(spec: Spec) -> NormStrategy:
    """Make a strategy from its name, from a class, or from ``dict(name=..., **changes)``.

    :raises UserError: unknown name or parameter, another type or a value out of bounds, a
        re-calibration or refresh of what keeps no statistics, or a value without effect
    """
    name, changes = split_spec(spec, "norm")
    chosen = component("norm", name)
    assert isinstance(chosen.maker, type)
    given = {**chosen.presets, **changes}
    group = GROUPS["norm"]
    own = {key: p for key, p in parameters_of(chosen.maker).items() if key not in CONTEXT["norm"]}
    known = {**own, **parameters_of(Schedule)}
    for key, value in given.items():
        expect(f"{group} parameter", key, sorted(known))
        known[key].check(f"{group}.{key}", value)
    check_given(group, known, given)
    usual = {**{key: p.default for key, p in known.items()}, **chosen.presets}
    values = {**usual, **given}
    strategy = NormStrategy(
        chosen.name,
        chosen.maker,
        {key: values[key] for key in own},
        Schedule(**{key: value for key, value in values.items() if key not in own}),
    )
    for key, what in (("recalibrate_every", "re-calibrate"), ("refresh_kl", "refresh")):
        value = getattr(strategy, key)
        if value is not None and not issubclass(chosen.maker, BatchNorm):
            raise UserError(
                f"{group}.{key}={value}: {group}={chosen.name} keeps no statistics to {what}; "
                "expected null"
            )
    for key, rule in ONLY_WITH_RULE.items():
        if key in own and values[key] != usual[key] and strategy.rule != rule:
            raise UserError(
                f"{group}.{key}={values[key]}: has no effect with {group}={chosen.name}, whose "
                f"rule is {strategy.rule}; expected only with the {rule} rule"
            )
    if values.get("process_noise") is not None and values["smoothing"] != usual["smoothing"]:
        raise UserError(
            f"{group}.smoothing={values['smoothing']}: has no effect with "
            f"{group}.process_noise={values['process_noise']}; expected only with "
            f"{group}.process_noise=null"
        )
    return strategy
