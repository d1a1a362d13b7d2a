"""``python -m snnrl.convert <run folder>``: an ordinary actor as integrate-and-fire neurons."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before imports that take seconds

# isort: split
import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from snnrl.errors import UserError, exit_status, with_short_errors
from snnrl.experiment.config.choices import classifies
from snnrl.experiment.reproduction.arguments import (
    EPISODES,
    EPISODES_SEED,
    add_model,
    add_module,
    check_episodes,
)
from snnrl.experiment.reproduction.own_code import changes_since
from snnrl.experiment.reproduction.remake import check_code
from snnrl.experiment.reproduction.saved_model import find_model, progress_of
from snnrl.experiment.threads import cores, use_threads
from snnrl.imports import import_named
from snnrl.run_format.names import CONVERSION, CONVERSION_CURVE
from snnrl.run_format.place import check_place, write_files
from snnrl.starting import importing
from snnrl.text import one_line, shortened

if TYPE_CHECKING:
    from snnrl.analysis.conversion import Conversion

TIME_STEPS = (5, 10, 20, 50, 100, 200)

MOST_TIME_STEPS = 10_000
"""Most time steps of an action: all of them, of all episodes, are in memory at once."""

OBSERVATIONS = 10_000
"""Observations that set the thresholds: as many as CRPI's code records."""


def main(argv: list[str] | None = None) -> int:
    """Convert, print and record; return exit status 0, or 2 for a user error."""
    parser = argparse.ArgumentParser(
        "python -m snnrl.convert",
        description="Convert the ordinary actor of a run (actor=ann; DQN: its Q-network) to "
        "integrate-and-fire neurons, without training: returns over time steps, as a table and a "
        "picture. Runs no code of the run folder without --module or --unpickle "
        "(docs/security.md).",
    )
    parser.add_argument("folder", type=Path, help="run folder of actor=ann, .../seed-<s>")
    parser.add_argument(
        "--time-steps",
        default=",".join(map(str, TIME_STEPS)),
        metavar="T,T,...",
        help="time steps of an action, separated by commas (default %(default)s)",
    )
    parser.add_argument(
        "--correction",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of an action's residual that the next action starts with, 0 to 1 (CRPI; "
        "default 1); networks without it are always measured too",
    )
    parser.add_argument(
        "--episodes", type=int, default=EPISODES, help="episodes of each network (default 10)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=EPISODES_SEED,
        help="seed of the episodes (default 10000); the observations are of other ones",
    )
    parser.add_argument(
        "--observations",
        type=int,
        default=OBSERVATIONS,
        metavar="N",
        help="observations of the ordinary network that set the thresholds (default "
        f"{OBSERVATIONS}, however many episodes are played)",
    )
    add_model(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the files (default: the run folder)"
    )
    add_module(parser)
    return exit_status(
        lambda: convert(with_short_errors(parser).parse_args(argv)), output_is_result=True
    )


def convert(arguments: argparse.Namespace) -> None:
    """Run what the command line requests.

    :raises UserError: a number out of its range, not a run folder, no such model, a spiking actor
        or a data set, or no place for the files
    """
    time_steps = _numbers(arguments.time_steps)
    if not 0 <= arguments.correction <= 1:
        raise UserError(f"--correction {arguments.correction}: expected 0 to 1")
    check_episodes(arguments.episodes, arguments.seed)
    if arguments.observations < 1:
        raise UserError(f"--observations {arguments.observations}: expected at least 1")
    folder: Path = arguments.folder
    cfg, model = find_model(folder, arguments.model, arguments.module)
    if classifies(cfg):
        raise UserError(f"{folder}: is of a data set, which has no episodes; expected a run of RL")
    if cfg.actor.name != "ann":
        raise UserError(
            f"{folder}: actor={cfg.actor.name} spikes already; expected a run of actor=ann"
        )
    out: Path = folder if arguments.out is None else arguments.out
    check_place(out, f"--out {out}", [CONVERSION, CONVERSION_CURVE])
    import_named(arguments.module)
    check_code(cfg, arguments.module)
    # Without correction first: the same for both where it is 0.
    corrections = list(dict.fromkeys([0.0, arguments.correction]))
    _write(cfg, out, list(_measured(arguments, cfg, model, time_steps, corrections)))


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    # Python refuses to read thousands of digits.
    most = len(str(MOST_TIME_STEPS))
    if not all(
        word.isdecimal() and len(word) <= most and 0 < int(word) <= MOST_TIME_STEPS
        for word in words
    ):
        raise UserError(
            f"--time-steps {shortened(text)}: expected numbers above 0 and at most "
            f"{MOST_TIME_STEPS}, separated by commas, such as 10,100"
        )
    return sorted(set(map(int, words)))


def _measured(
    arguments: argparse.Namespace,
    cfg: DictConfig,
    model: Path,
    time_steps: list[int],
    corrections: list[float],
) -> Iterator[Conversion]:
    """Yield the episodes of each network; print a line for each."""
    # These take seconds to import, which no error that was found by now has to wait for.
    with importing():
        from snnrl.experiment.builder import build_evaluator
        from snnrl.experiment.config.check_spaces import check_environment
        from snnrl.experiment.conversion import measure_conversion
        from snnrl.experiment.evaluation import Evaluator
        from snnrl.experiment.trained import load_trained
        from snnrl.seeds import child_seed

    check_environment(cfg)
    for line in changes_since(arguments.folder, cfg):
        print(one_line(line))
    agent = load_trained(cfg, model, unpickle=arguments.unpickle)
    use_threads(cfg, agent.kernel, most=cores())
    unfinished = progress_of(arguments.folder, cfg)
    print(one_line(f"{cfg.env.id}, {model.name} after {agent.num_timesteps:,} steps{unfinished}"))
    recorded, played = (
        build_evaluator(cfg, arguments.episodes, seed)
        for seed in (child_seed(arguments.seed, "conversion"), arguments.seed)
    )
    assert isinstance(recorded, Evaluator) and isinstance(played, Evaluator)
    for row in measure_conversion(
        agent, recorded, arguments.observations, played, time_steps, corrections
    ):
        mean, deviation, low, high = row.estimate
        known = "" if math.isnan(low) else f", sd {deviation:.2f}, interval [{low:.2f}, {high:.2f}]"
        steps = "" if row.time_steps is None else f", T = {row.time_steps}"
        beside = "" if row.time_steps is None else f"; actions differ by {row.difference:.4f}"
        print(f"{row.label}{steps}: return {mean:.2f}{known}{beside}")
        if row.time_steps is None:
            print(
                f"thresholds from {arguments.observations:,} observations: {100 * row.above:.3g} % "
                "of the activations in these episodes are above them"
            )
        yield row


def _write(cfg: DictConfig, out: Path, rows: list[Conversion]) -> None:
    """Write table and picture, once both are complete.

    :raises UserError: they cannot be written
    """
    from snnrl.analysis.conversion import plot_conversion, to_csv
    from snnrl.analysis.figures import png

    content = {
        CONVERSION: to_csv(rows).encode(),
        CONVERSION_CURVE: png(plot_conversion(rows, cfg.env.id)),
    }
    write_files(out, content)
    for name in content:
        print(one_line(f"wrote {out / name}"))


if __name__ == "__main__":
    sys.exit(main())
