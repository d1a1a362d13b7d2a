"""Estimate the number of runs of one or more sweeps, and their computing time.

``python scripts/estimate_sweep.py SETTINGS [-- SETTINGS ...]``: one run of each environment and
algorithm is timed for a few steps. The other settings hardly affect the time.
"""

from __future__ import annotations

import sys
from itertools import groupby

from snnrl.errors import exit_status
from snnrl.experiment.config.compose import compose_config, hydra_settings
from snnrl.experiment.config.overrides import check_overrides, expand, is_sweep
from snnrl.experiment.config.validate import validate
from snnrl.experiment.estimate import in_words, seconds_for
from snnrl.experiment.threads import cores, threads_of_job

TIMED = ("env", "experiment", "algo", "actor", "threads", "total_steps")


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: _print_estimate(argv))


def _print_estimate(argv: list[str]) -> None:
    sweeps = [list(words) for end, words in groupby(argv, lambda word: word == "--") if not end]
    runs, seconds, threads = zip(*(estimate(words) for words in sweeps), strict=True)
    at_once = max(1, cores() // max(threads))
    print(
        f"{sum(runs):,} runs, about {in_words(sum(seconds))} of computing; {at_once} at a time, "
        f"on this machine: about {in_words(sum(seconds) / at_once)}"
    )


def estimate(words: list[str]) -> tuple[int, float, int]:
    """Return the number of runs of a sweep, their seconds in all, and the threads of a run.

    :raises UserError: a setting is invalid
    """
    overrides = check_overrides(words)
    hydra_settings(overrides)
    jobs = list(expand(overrides))
    swept = {text.split("=")[0] for text in overrides if is_sweep(text)}
    seconds: dict[tuple[str, ...], float] = {}
    total, threads = 0.0, 1
    for job in jobs:
        kind = tuple(text for text in job if text.split("=")[0] in swept & set(TIMED))
        if kind not in seconds:
            cfg = compose_config(job)
            validate(cfg)
            seconds[kind] = seconds_for(cfg, cfg.total_steps)
            threads = max(threads, threads_of_job(cfg))
        total += seconds[kind]
    return len(jobs), total, threads


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
