"""Search for good settings with Optuna.

``python scripts/tune.py [--trials N] [--seeds N] SETTING ...``: a setting is as in the training
command, or a range to search in: ``bn=carebn,vanilla``, ``algo.batch_size=choice(64,128)``,
``algo.gamma=interval(0.9,0.999)``, ``'algo.learning_rate=tag(log,interval(1e-4,1e-2))'``.

The objective is the return of the last evaluation, averaged over episodes and seeds. Trials are
ordinary runs in ``results_dir``. The study is stored there, too, so the same command resumes it.
``hydra-optuna-sweeper`` cannot be used, because it requires an Optuna older than 3.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from snnrl.errors import RunFailed, UserError, exit_status, with_short_errors
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.overrides import check_overrides
from snnrl.experiment.run import run
from snnrl.experiment.signals import stop_on_signals


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Search for good settings with Optuna.")
    parser.add_argument("--trials", type=int, default=20, help="number of trials (20)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds: 0, 1, ... (3)")
    parser.add_argument("settings", nargs="+", metavar="SETTING")

    def command() -> None:
        asked = with_short_errors(parser).parse_args(argv)
        with stop_on_signals():
            tune(check_overrides(asked.settings), asked.trials, asked.seeds)

    return exit_status(command)


def tune(settings: list[str], trials: int, seeds: int) -> None:
    """Run the trials of a study that are not complete yet, and print the best.

    :param trials: trials in all, those of earlier commands included
    :param seeds: seeds of each trial
    :raises UserError: there is nothing to search, or a setting is invalid
    :raises RunFailed: every trial failed
    """
    try:
        import optuna
    except ImportError:
        raise UserError("optuna is not installed; pip install 'snnrl[optuna]'") from None
    parsed = [OverridesParser.create().parse_override(text) for text in settings]
    searched = [override for override in parsed if override.is_sweep_override()]
    for override in parsed:
        if override.key_or_group == "seed":
            raise UserError(f"{override.input_line}: expected --seeds, the number of seeds")
    fixed = [text for text in settings if text not in [o.input_line for o in searched]]
    if not searched:
        raise UserError(f"{' '.join(settings)}: nothing to search; expected a sweep such as bn=a,b")
    study_folder = Path(compose_config(fixed).results_dir)
    study_folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{study_folder / 'optuna.db'}",
        study_name=" ".join([f"seeds={seeds}", *settings]),
        direction="maximize",
        load_if_exists=True,
    )
    # A resumed study must not draw the values of its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))

    def objective(trial: Any) -> float:
        chosen = [f"{o.get_key_element()}={suggest(trial, o)}" for o in searched]
        returns = []
        for seed in range(seeds):
            overrides = [*fixed, *chosen, f"seed={seed}"]
            returns.append(run(compose_config(overrides), overrides).final_return)
        return sum(returns) / seeds

    for cut_off in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        # The same values again, so that its runs resume.
        study.tell(cut_off.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut_off.params)
    finished = (optuna.trial.TrialState.COMPLETE,)
    if (left := trials - len(study.get_trials(states=finished))) > 0:
        study.optimize(objective, left, catch=(RunFailed,))
    done = len(study.get_trials(states=finished))
    if done == 0:
        raise RunFailed("no trial is done; the lines above say why")
    print(f"best of {done} trials: return {study.best_value:.1f} with")
    print(" ".join(f"{key}={value}" for key, value in study.best_params.items()))


def suggest(trial: Any, override: Override) -> Any:
    """Return a value from the range of an override."""
    key = override.get_key_element()
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep):
        return trial.suggest_categorical(key, list(override.sweep_string_iterator()))
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log=log)
    return trial.suggest_float(key, low, high, log=log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
