"""Grouping of runs by values of their configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from snnrl.analysis.runs import Run
from snnrl.errors import UserError, nearest
from snnrl.run_format.names import CONFIG
from snnrl.run_format.settings import CAME_LATER, NOT_SETTINGS, NOT_SETTINGS_OF_DATA, SCHEDULES

Groups = Mapping[str, Sequence[Run]]
"""Runs by the group's name."""

# The environment has its own table and panel.
ENVIRONMENT = ("env.id",)
# It counts only for runs in which something is scheduled over it.
LENGTH = "total_steps"
# Not part of what is learned, only of what ran.
LENGTH_AND_PLACE = (LENGTH, "device")
# In order of preference for telling groups apart.
CHOICES = ("algo.name", "actor.name", "neuron.name", "bn.name")
# Default baselines, in order of preference: first that of the published tables.
BASELINES = (("actor.name", "ann"), ("bn.name", "vanilla"), ("bn.name", "none"))


def grouping_keys(runs: Sequence[Run]) -> list[str]:
    """Return the keys that distinguish the runs' settings, names of choices (``bn.name``) first.

    A key is included only if runs of one environment that share all previous keys differ in it:
    other keys, which vary with a group's name, add nothing. If nothing differs, the keys are the
    names of the algorithm, actor, neuron and normalisation.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    candidates = [key for key in keys if not _ignored(key) and _varies(key, runs)]
    chosen: list[str] = []
    for key in sorted(candidates, key=lambda key: (not key.endswith(".name"), _rank(key))):
        classes = group_runs(runs, [*chosen, *ENVIRONMENT]).values()
        if any(_varies(key, members) for members in classes):
            chosen.append(key)
    return chosen or [key for key in CHOICES if key in keys] or ["env.id"]


def resolve_key(key: str, runs: Sequence[Run]) -> str:
    """Return the full key that ``key`` abbreviates: ``bn`` is ``bn.name``.

    :raises UserError: no run has such a key
    """
    known = {name for run in runs for name in run.settings}
    for name in (key, f"{key}.name", f"{key}.id"):
        if name in known:
            return name
    raise UserError(
        f"--by {key}: expected a key of the runs' {CONFIG}{nearest(key, sorted(known))}"
    )


def group_runs(runs: Iterable[Run], keys: Sequence[str]) -> dict[str, list[Run]]:
    """Group runs by their values at the keys, such as ``"td3, carebn"`` or
    ``"algo.batch_size=64"``."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        name = ", ".join(
            _value(run, key) if key.endswith(".name") else f"{key}={_value(run, key)}"
            for key in keys
        )
        groups.setdefault(name, []).append(run)
    return groups


def choose_baseline(groups: Groups, asked: str | None) -> str | None:
    """Return the group that the others are compared with; None if there is only one.

    :param asked: its name; None: of the groups with a result the first whose actor is an ordinary
        network, else whose normalisation is ``vanilla``, else ``none``, else the first
    :raises UserError: there is no such group
    """
    if asked is not None and asked not in groups:
        raise UserError(
            f"--baseline {asked}: expected one of the groups {'; '.join(groups)}"
            f"{nearest(asked, groups)}"
        )
    if asked is not None or len(groups) < 2:
        return asked
    able = {n: runs for n, runs in groups.items() if any(run.has_result for run in runs)} or groups
    for key, value in BASELINES:
        for name, runs in able.items():
            if all(_value(run, key) == value for run in runs):
                return name
    return next(iter(able))


def in_environments(runs: Sequence[Run], ids: Sequence[str]) -> list[Run]:
    """Return the runs in the environments of these ids.

    :raises UserError: no run is in one of them
    """
    known = {run.environment: None for run in runs}
    for name in ids:
        if name not in known:
            raise UserError(
                f"--env {name}: expected an environment of the runs, of {', '.join(known)}"
                f"{nearest(name, known)}"
            )
    return [run for run in runs if run.environment in ids]


def by_environment(groups: Groups) -> dict[str, dict[str, list[Run]]]:
    """Return ``{environment: {group: runs}}``, environments in alphabetical order."""
    cells: dict[str, dict[str, list[Run]]] = {}
    for name, runs in groups.items():
        for run in runs:
            cells.setdefault(run.environment, {}).setdefault(name, []).append(run)
    return dict(sorted(cells.items()))


def mixed_keys(runs: Sequence[Run]) -> list[str]:
    """Return settings in which runs of one environment and group differ."""
    cells = group_runs(runs, ENVIRONMENT).values()
    keys = sorted({key for cell in cells for run in cell for key in run.settings})
    return [key for key in keys if not _ignored(key) and any(_varies(key, cell) for cell in cells)]


def shared_settings(runs: Sequence[Run]) -> dict[str, str]:
    """Return settings that have the same value in all runs, in alphabetical order.

    Settings of a run's files and tracking, and its seed, are left out, as are those of a choice
    that is ``none`` and of an empty place (``critic.bn.eps`` where ``critic.bn`` is null). Values
    are written as in ``config.yaml``.
    """
    first, *others = [run.settings for run in runs]
    return {
        key: _as_written(value)
        for key, value in sorted(first.items())
        if (key in LENGTH_AND_PLACE or key.split(".")[0] not in NOT_SETTINGS)
        and _in_use(key, first)
        and all(key in settings and str(settings[key]) == str(value) for settings in others)
    }


def _in_use(key: str, settings: Mapping[str, Any]) -> bool:
    """Return whether what a setting belongs to is chosen."""
    place, _, name = key.rpartition(".")
    if not place or name == "name":
        return True
    return settings.get(f"{place}.name") != "none" and settings.get(place, "") is not None


def _as_written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def confounded_keys(groups: Groups, keys: Sequence[str]) -> list[str]:
    """Return settings besides ``keys`` in which whole groups differ: they may cause the difference.

    Settings that come with a choice (``bn.momentum`` with ``bn.name``) are left out, as are those
    that differ within a group, which :func:`mixed_keys` returns.
    """
    chosen = [key.removesuffix("name") for key in keys if key.endswith(".name")]
    mixed = {key for runs in groups.values() for key in mixed_keys(runs)}
    runs = [run for members in groups.values() for run in members]
    return [
        key
        for key in mixed_keys(runs)
        if key not in keys and key not in mixed and not key.startswith(tuple(chosen))
    ]


def _varies(key: str, runs: Sequence[Run]) -> bool:
    counted = filter(_has_schedule, runs) if key == LENGTH else runs
    return len({_value(run, key) for run in counted}) > 1


def _has_schedule(run: Run) -> bool:
    return any(run.settings.get(key) is not None for key in SCHEDULES)


def _value(run: Run, key: str) -> str:
    return str(run.settings.get(key, CAME_LATER.get(key, "unset")))


def _ignored(key: str) -> bool:
    ignored = key.split(".")[0] in NOT_SETTINGS and key != LENGTH
    return ignored or key in (*ENVIRONMENT, *NOT_SETTINGS_OF_DATA)


def _rank(key: str) -> int:
    return CHOICES.index(key) if key in CHOICES else len(CHOICES)
