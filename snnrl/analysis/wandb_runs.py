"""Runs of a Weights & Biases project, through its public API.

W&B is a view of the run folders and holds less: means over an evaluation's episodes but no single
episodes, no errors of the statistics, no package versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from snnrl.analysis.runs import Run
from snnrl.analysis.shown_config import shown_config
from snnrl.errors import UserError
from snnrl.run_format.bounds import LARGEST_NUMBER, MOST_STEPS
from snnrl.run_format.config import check_lengths
from snnrl.run_format.evaluations import no_evaluations
from snnrl.run_format.progress import LENGTH, RETURN, TIME_ELAPSED, add_up_restarts
from snnrl.run_format.status import Status

STATES: Mapping[str, Status] = {"finished": "done", "failed": "failed", "crashed": "unfinished"}
"""W&B's states as ours; ``crashed``, a process that died without reporting, may be resumed."""


def fetch_runs(source: str, api: Any = None) -> tuple[list[Run], list[str]]:
    """Return the runs of ``entity/project`` or of one group in it, ``entity/project/group``.

    :param api: a ``wandb.Api``; None makes one, which needs the network and a login
    :return: the runs, and notes on what is missing
    :raises UserError: not such a path, W&B cannot be asked, it has no run there, or a run's
        evaluations are not numbers
    """
    entity, _, rest = source.partition("/")
    project, _, group = rest.partition("/")
    if not (entity and project):
        raise UserError(f"--wandb {source}: expected entity/project or entity/project/group")
    path = f"{entity}/{project}"
    try:
        # These may raise errors of the network, of the login or of the project's name.
        client = _connect() if api is None else api
        found = list(client.runs(path, filters={"group": group} if group else None))
        pieces = [_fetch(path, run) for run in found]
    except UserError:
        raise
    except Exception as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise UserError(f"--wandb {source}: W&B answered '{reason}'") from problem
    if not found:
        raise UserError(f"--wandb {source}: no run there")
    runs = [run for run, _ in pieces if run is not None]
    if not runs:
        raise UserError(f"--wandb {source}: none of its {len(found)} runs is a run of snnrl")
    notes = [note for _, note in pieces if note]
    lacking = (
        f"from W&B {source}: means over episodes only, no statistics error, no versions, "
        "no hardware"
    )
    return runs, [lacking, *notes]


def _connect() -> Any:
    import wandb

    return wandb.Api()


def _fetch(path: str, source: Any) -> tuple[Run | None, str]:
    """Return a run and a note on what it lacks; no run if it is not one of snnrl's."""
    name = f"wandb:{path}/{source.id}"
    config = dict(source.config)
    if not (isinstance(config.get("env"), Mapping) and "id" in config["env"] and "seed" in config):
        return None, f"not a run of snnrl, left out: {name}"
    check_lengths(config, name)
    config = shown_config(config)
    status = STATES.get(source.state, "unfinished")
    evaluations, note = _evaluations(name, source)
    if status == "done" and evaluations.empty:
        raise UserError(f"{name}: finished, and has no {RETURN} in its history or summary")
    run = Run(
        name,
        config,
        evaluations,
        status,
        reason="failed according to W&B; the run folder has the reason"
        if status == "failed"
        else "",
        clock=_clock(source),
    )
    return run, note


def _evaluations(name: str, source: Any) -> tuple[pd.DataFrame, str]:
    rows, note = _history(source, ["timesteps", RETURN]), ""
    if not rows:
        summary = dict(source.summary)
        if RETURN not in summary or "timesteps" not in summary:
            return no_evaluations(), ""
        rows = [summary]
        note = f"no history of evaluations, the last one only: {name}"
    table = pd.DataFrame(
        {
            "timesteps": [row["timesteps"] for row in rows],
            "episode": 0,
            "seed": np.nan,
            "return": [row[RETURN] for row in rows],
            "length": [row.get(LENGTH) for row in rows],
        }
    ).apply(pd.to_numeric, errors="coerce")
    values = table[["timesteps", "return"]].to_numpy(dtype=float)
    if not (np.abs(values) <= (MOST_STEPS, LARGEST_NUMBER)).all():
        raise UserError(f"{name}: expected finite numbers as {RETURN} and timesteps")
    # A resumed run may have logged a step twice; the last value is the one it continued from.
    table = table.drop_duplicates("timesteps", keep="last").astype({"timesteps": int})
    return table.sort_values("timesteps", ignore_index=True), note


def _clock(source: Any) -> pd.Series:
    rows = _history(source, ["timesteps", TIME_ELAPSED])
    seconds = pd.Series(
        [float(row[TIME_ELAPSED]) for row in rows],
        index=[int(row["timesteps"]) for row in rows],
        dtype=float,
    )
    return add_up_restarts(seconds.groupby(level=0).max())


def _history(source: Any, keys: list[str]) -> list[Mapping[str, Any]]:
    rows: Iterable[Mapping[str, Any]] = source.scan_history(keys=keys)
    return list(rows)
