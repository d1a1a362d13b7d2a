"""``python -m snnrl.evaluate <run folder>``: returns of a trained agent, its cost, and a video."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before imports that take seconds

# isort: split
import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from snnrl.errors import UserError, exit_status, with_short_errors
from snnrl.experiment.config.choice_files import choices
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
from snnrl.run_format.durable import replace_file
from snnrl.run_format.names import COST, MODEL, VIDEO
from snnrl.run_format.place import check_place
from snnrl.run_format.settings import measure
from snnrl.starting import importing
from snnrl.text import one_line, printable

if TYPE_CHECKING:
    from snnrl.agents.base import SpikingAgent
    from snnrl.experiment.accuracy import AccuracyEvaluator
    from snnrl.experiment.evaluation import Episode, Evaluator


def main(argv: list[str] | None = None) -> int:
    """Evaluate, print and record; return exit status 0, or 2 for a user error."""
    parser = argparse.ArgumentParser(
        "python -m snnrl.evaluate",
        description="Returns of a trained agent, its cost, and a video. Runs no code of the run "
        "folder without --module or --unpickle (docs/security.md).",
    )
    parser.add_argument("folder", type=Path, help="run folder, .../seed-<s>")
    parser.add_argument("--episodes", type=int, help="episodes to run (default 10)")
    parser.add_argument(
        "--seed",
        type=int,
        help="seed of the episodes (default 10000); the run's own: those of its evaluations",
    )
    add_model(parser)
    parser.add_argument(
        "--kernel",
        choices=[kernel for kernel in choices("kernel") if kernel != "triton"],
        help="what computes the networks, on a CPU (default: the run's setting, auto in place of "
        "triton)",
    )
    parser.add_argument(
        "--early-exit",
        type=float,
        nargs="?",
        const=0.1,
        metavar="LIMIT",
        help="also act with early exit, in runs with bn=bntt: leave at the time step in which "
        "gamma is below LIMIT thresholds (default 0.1) in every layer; prints the time steps saved "
        "and the return lost in the same episodes",
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="also print what an action costs in these episodes, layer by layer (synaptic "
        "operations, memory, energy), and write it to cost.csv in the run folder (docs/cost.md)",
    )
    parser.add_argument("--video", action="store_true", help="write an mp4 of one episode")
    add_module(parser)
    return exit_status(
        lambda: evaluate(with_short_errors(parser).parse_args(argv)), output_is_result=True
    )


def evaluate(arguments: argparse.Namespace) -> None:
    """Run what the command line requests.

    :raises UserError: not a run folder, no such model, no way to render here, no place for a file,
        or a network whose cost is unknown
    """
    check_episodes(arguments.episodes, arguments.seed)
    cfg, model = find_model(arguments.folder, arguments.model, arguments.module)
    if classifies(cfg):
        for name, value in (
            ("--episodes", arguments.episodes),
            ("--seed", arguments.seed),
            ("--video", arguments.video or None),
        ):
            if value is not None:
                raise UserError(
                    f"{name}: {arguments.folder} is of a data set, which has no episodes; expected "
                    f"no {name}"
                )
    if arguments.video:
        check_place(arguments.folder, "--video", [VIDEO])
    if arguments.cost:
        check_place(arguments.folder, "--cost", [COST])
    cfg.kernel.name = arguments.kernel or cfg.kernel.name
    import_named(arguments.module)
    check_code(cfg, arguments.module)
    _play(arguments, cfg, model)


def _play(arguments: argparse.Namespace, cfg: DictConfig, model: Path) -> None:
    # These take seconds to import, which no error that was found by now has to wait for.
    with importing():
        from snnrl.deploy.cost import check_cost
        from snnrl.experiment.builder import build_evaluator, episode_starts
        from snnrl.experiment.config.check_data import check_data
        from snnrl.experiment.config.check_spaces import check_environment
        from snnrl.experiment.trained import load_trained
        from snnrl.experiment.video import record_episode

    check = check_data if classifies(cfg) else check_environment
    check(cfg)
    for line in changes_since(arguments.folder, cfg):
        print(one_line(line))
    agent = load_trained(cfg, model, unpickle=arguments.unpickle)
    use_threads(cfg, agent.kernel, most=cores())
    unfinished = progress_of(arguments.folder, cfg)
    untrained = ", an untrained network" if agent.num_timesteps == 0 else ""
    if untrained and (arguments.folder / MODEL).exists():
        untrained += " (--model last: the trained one)"
    print(
        one_line(
            f"{cfg.env.id}, {model.name} after {agent.num_timesteps:,} steps{untrained}, "
            f"kernel {agent.kernel}{unfinished}"
        )
    )
    seed = EPISODES_SEED if arguments.seed is None else arguments.seed
    evaluator = build_evaluator(cfg, arguments.episodes or EPISODES, seed)
    # A refusal comes before episodes that take minutes.
    if arguments.early_exit is not None:
        with agent.early_exit(arguments.early_exit):
            pass
    if arguments.cost:
        check_cost(agent)
    word = measure(cfg)
    played = evaluator.run(agent)
    returns = _print_returns(played, word)
    if arguments.cost:
        _write_cost(arguments, agent, played)
    if arguments.early_exit is not None:
        _print_early_exit(agent, arguments.early_exit, returns, evaluator, word)
    if arguments.video:
        path = arguments.folder / VIDEO
        shown = record_episode(agent, cfg, path, episode_starts(cfg, seed))
        print(one_line(f"video: {path} (return {shown:.1f})"))


def _print_returns(played: Sequence[Episode], word: str) -> list[float]:
    """Print and return the returns of episodes.

    :param word: what they measure
    """
    from snnrl.analysis.statistics import mean_interval

    if word == "accuracy":
        (test,) = played
        print(f"accuracy {test.total_reward:.2f} % of {test.length:,} test examples")
        return [test.total_reward]
    for episode in played:
        print(f"  episode {episode.index}: {episode.total_reward:.2f} in {episode.length} steps")
    returns = [episode.total_reward for episode in played]
    mean, deviation, low, high = mean_interval(returns)
    if math.isnan(low):
        print(f"return {mean:.2f} (one episode: no deviation, no interval)")
    else:
        print(f"return {mean:.2f}, sd {deviation:.2f}, 95 % interval [{low:.2f}, {high:.2f}]")
    return returns


def _write_cost(
    arguments: argparse.Namespace, agent: SpikingAgent, played: Sequence[Episode]
) -> None:
    """Print what an action costs on the observations of episodes, and write it into the run folder.

    :raises UserError: the file cannot be written
    """
    import numpy as np

    from snnrl.deploy.cost import cost_of
    from snnrl.deploy.cost_layers import ENERGIES
    from snnrl.deploy.cost_table import to_csv, to_text

    observations = np.concatenate([episode.observations for episode in played])
    cost = cost_of(agent, observations)
    print(printable(to_text(cost), keep="\n"), end="")
    if arguments.early_exit is not None:
        with agent.early_exit(arguments.early_exit) as taken:
            total = cost_of(agent, observations).total
        energies = ", ".join(f"{total.energy(each):.2f} nJ ({each.name})" for each in ENERGIES)
        macs = total.macs + total.normalisation_macs
        print(f"early exit, {taken} time steps: {total.acs:,.0f} ACs, {macs:,.0f} MACs, {energies}")
    path = arguments.folder / COST
    try:
        replace_file(path, to_csv(cost).encode())
    except OSError as problem:
        raise UserError(f"--cost: expected to write {path} ({problem})") from None
    print(one_line(f"wrote {path}"))


def _print_early_exit(
    agent: SpikingAgent,
    limit: float,
    returns: list[float],
    evaluator: Evaluator | AccuracyEvaluator,
    word: str,
) -> None:
    """Play the same episodes with early exit; print time steps saved and return lost."""
    from snnrl.analysis.statistics import mean_interval
    from snnrl.nn.early_exit import relative_gammas

    network = agent.acting_network()
    assert network is not None
    steps = network.encoder.time_steps
    with agent.early_exit(limit) as taken:
        print(f"early exit below {limit:g}: {taken} of {steps} time steps, {steps - taken} saved")
        if taken == steps:
            largest = relative_gammas(network).amax(0)
            step = int(largest.argmin())
            print(
                f"  no step is left out: in step {step + 1}, the nearest to it, one layer has a "
                f"mean gamma of {largest[step]:.2f} thresholds; the {word} is the one above"
            )
            return
        early = _print_returns(evaluator.run(agent), word)
    lost, _, low, high = mean_interval([a - b for a, b in zip(returns, early, strict=True)])
    interval = "" if math.isnan(low) else f", 95 % interval [{low:.2f}, {high:.2f}]"
    print(f"{word} lost {lost:.2f}{interval}")


if __name__ == "__main__":
    sys.exit(main())
