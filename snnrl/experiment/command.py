"""A command that trains, or sweeps, with Hydra: ``snnrl.train`` and ``snnrl.classify``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from itertools import compress, zip_longest
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnrl.errors import Interrupted, RunFailed, UserError, exit_status, with_short_errors
from snnrl.experiment.config.check_settings import check_settings
from snnrl.experiment.config.choice_files import CONFIG_DIR, SEARCH_PATH
from snnrl.experiment.config.compose import compose_config, hydra_settings
from snnrl.experiment.config.equal_functions import check_functions
from snnrl.experiment.config.explain import explain
from snnrl.experiment.config.help import help_text
from snnrl.experiment.config.label import folder_name, settings_hash
from snnrl.experiment.config.no_effect import without_effect
from snnrl.experiment.config.nodes import Root, register, setting_types
from snnrl.experiment.config.overrides import check_overrides, expand, is_sweep
from snnrl.experiment.config.written import written
from snnrl.experiment.signals import stop_on_signals
from snnrl.experiment.sweep.job import perform
from snnrl.experiment.sweep.launchers import check_launcher
from snnrl.experiment.sweep.outcomes import Outcome, Sweep, count, describe
from snnrl.experiment.threads import cores, threads_of_job
from snnrl.run_format.names import seed_folder
from snnrl.starting import importing
from snnrl.text import one_line


def run_command(root: Root, argv: list[str] | None = None) -> int:
    """Check the command line, run what it asks for, turn errors into an exit status.

    :param root: the command
    :param argv: arguments, those of the process if not given
    """
    argv = sys.argv[1:] if argv is None else argv
    again = "stopped at once; the same command resumes from the last checkpoint"
    return exit_status(lambda: _main(root, argv), at_once=again)


def _main(root: Root, argv: list[str]) -> None:
    argv = _with_search_path(argv)
    flags = _parse(root, argv)
    if flags.help:
        check_overrides(flags.overrides, root)
        print(help_text(root))
        return
    overrides = check_overrides(flags.overrides, root)
    jobs = list(expand(overrides))
    composed = _compose_and_check(root, jobs)
    configs = list(composed.values())
    if not _needs_hydra(flags):
        for text in filter(is_sweep, overrides):
            raise UserError(f"{text}: has several values; expected -m for a sweep")
        with importing():
            from snnrl.experiment.run import run

        run(configs[0], overrides)
        return
    options = [argument for argument in argv if argument not in flags.overrides]
    if flags.multirun:
        _check_distinct_folders(jobs, composed, [is_sweep(text) for text in overrides])
        check_functions(configs)
        threads = max(threads_of_job(cfg) for cfg in configs)
        _sweep(root, options, overrides, len(jobs), threads)
    else:
        _run_hydra(root, [*options, *overrides])


def _check_distinct_folders(
    jobs: list[list[str]], composed: dict[tuple[str, ...], DictConfig], swept: list[bool]
) -> None:
    """Refuse a sweep in which two runs would share a run folder.

    The composed configurations decide: different overrides may mean the same run, such as two
    neurons where nothing spikes.

    :param composed: see :func:`_compose_and_check`
    :param swept: for each override, whether it has several values
    """
    hashes = {texts: settings_hash(cfg) for texts, cfg in composed.items()}
    first: dict[tuple[str, str, int], list[str]] = {}
    for job in jobs:
        seed, others = _split_seed(job)
        cfg = composed[others]
        place = os.path.realpath(cfg.results_dir)
        other = first.setdefault((place, hashes[others], composed[seed or others].seed), job)
        if other is not job:
            named = [a != b for a, b in zip(job, other, strict=True)]
            names = [
                " ".join(compress(texts, named if any(named) else swept)) for texts in (other, job)
            ]
            raise UserError(
                f"two runs of the sweep share a run folder: {names[0]} and {names[1]} "
                f"({folder_name(cfg)}/{seed_folder(composed[seed or others].seed)}); expected "
                "runs that differ in what is learned, or in results_dir"
            )


def _compose_and_check(root: Root, jobs: list[list[str]]) -> dict[tuple[str, ...], DictConfig]:
    """Return the checked configurations of a sweep, by the overrides that they stand for.

    There is one for each seed, and one for each choice of the other settings. Checking every
    combination would only take longer, because a seed is valid with any other settings.
    """
    composed: dict[tuple[str, ...], DictConfig] = {}
    for job in jobs:
        seed, others = _split_seed(job)
        if seed not in composed or others not in composed:
            cfg = compose_config(job, root)
            check_settings(cfg)
            composed.setdefault(seed, cfg)
            composed.setdefault(others, cfg)
    # This import takes seconds, so mistakes that can be found without it are reported before.
    with importing():
        from snnrl.experiment.config.validate import validate

    for cfg in {id(cfg): cfg for cfg in composed.values()}.values():
        validate(cfg)
    found = [line for job in jobs for line in without_effect(composed[_split_seed(job)[1]], job)]
    for line in dict.fromkeys(found):
        print(one_line(line), file=sys.stderr)
    return composed


def _split_seed(job: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the seed of a run, empty if none is given, and its other settings."""
    seed = tuple(text for text in job if text.startswith("seed="))
    return seed, tuple(text for text in job if text not in seed)


def _sweep(root: Root, options: list[str], overrides: list[str], runs: int, threads: int) -> None:
    """Execute all runs of a sweep, then print their outcomes.

    :param options: Hydra's own arguments
    :param runs: number of runs
    :param threads: CPU threads of a run
    :raises RunFailed: not every run is done
    :raises Interrupted: a signal arrived; the runs in progress have saved themselves
    """
    launcher, folder = hydra_settings(overrides, "hydra/launcher", "hydra.sweep.dir", root=root)
    check_launcher(launcher)
    sweep = Sweep(_make_folder(Path(folder)))
    sweep.begin()
    if launcher == "basic":
        print(_describe_sequence(runs, threads))
    others = [text for text in overrides if not text.startswith("hydra.sweep.dir=")]
    quoted = folder.replace("'", r"\'")
    try:
        with stop_on_signals(tell=sweep.ask_to_stop) as stop:
            _run_hydra(root, [*options, *others, f"hydra.sweep.dir='{quoted}'"])
    except Interrupted:
        pass  # reported below, with all runs
    except KeyboardInterrupt:
        _print_outcomes(sweep.outcomes())
        raise
    outcomes = sweep.outcomes()
    _print_outcomes(outcomes)
    print(count(outcomes, runs), flush=True)
    if sum(outcome.final_return is not None for outcome in outcomes) >= runs:
        return
    if stop.signal_number is not None:
        raise Interrupted("stopped; the same command resumes it", stop.signal_number)
    raise RunFailed("not every run of the sweep is done; the lines above say why")


def _print_outcomes(outcomes: list[Outcome]) -> None:
    for line in describe(outcomes):
        print(one_line(line), file=sys.stderr)


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(
            f"results_dir: cannot create {folder} ({problem.strerror}); expected a folder to write "
            "to"
        ) from None
    return folder


def _describe_sequence(runs: int, threads: int) -> str:
    """Return a sweep's size, and how many runs the machine executes in parallel."""
    at_once = max(cores() // threads, 1)
    hint = "; hydra/launcher=joblib does so" if at_once > 1 else ""
    return (
        f"{runs} runs one after another; with threads={threads} these {cores()} cores can run "
        f"{at_once} at a time{hint}"
    )


def _with_search_path(argv: list[str]) -> list[str]:
    """Return the arguments with ``--config-dir`` as a setting, which reaches jobs elsewhere too."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    # Otherwise argparse would take -c for an abbreviation of -cd.
    parser.add_argument("--cfg", "-c")
    found, others = with_short_errors(parser).parse_known_args(argv)
    folders = [written(f"file://{Path(folder).absolute()}") for folder in found.config_dir]
    others += [f"--cfg={found.cfg}"] if found.cfg is not None else []
    return [*others, *([f"{SEARCH_PATH}=[{','.join(folders)}]"] if folders else [])]


def _parse(root: Root, argv: list[str]) -> argparse.Namespace:
    known = (*root.choices(), *setting_types(root))
    for argument, following in zip_longest(argv, argv[1:], fillvalue="..."):
        key, given, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and key in known:
            raise UserError(f"{argument}: expected {key}={value if given else following}")
    flags = with_short_errors(get_args_parser()).parse_intermixed_args(argv)
    for name in ("config_path", "config_name", "experimental_rerun"):
        if getattr(flags, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: expected key=value instead")
    return flags


def _needs_hydra(flags: argparse.Namespace) -> bool:
    """Return whether more than one run is requested, such as a sweep or showing the
    configuration."""
    return any(value for name, value in vars(flags).items() if name not in ("overrides", "run"))


def _run_hydra(root: Root, arguments: list[str]) -> None:
    sys.argv = [sys.argv[0], *arguments]
    # Without this Hydra prints a traceback and exits; with it, it raises.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=root.name)(_job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None


def _job(cfg: DictConfig) -> float:
    """Execute one run of a sweep and return its final return, which a sweeper may maximise.

    A run that failed returns NaN, because Hydra would report an exception in its own words.
    """
    hydra_cfg = HydraConfig.get()
    overrides = list(hydra_cfg.overrides.task)
    sweep = Sweep(Path(hydra_cfg.sweep.dir))
    OmegaConf.resolve(cfg)
    with stop_on_signals() as stop:
        if stop.signal_number is not None:
            raise Interrupted("stopped before it started", stop.signal_number)
        try:
            return perform(cfg, overrides, sweep, hydra_cfg.job.num).final_return
        except (UserError, RunFailed) as problem:
            # Reported now, and again at the end of the sweep, which may be days away.
            print(one_line(f"failed: {problem}"), file=sys.stderr)
            return math.nan
