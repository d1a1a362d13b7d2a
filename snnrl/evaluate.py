"""``python -m snnrl.evaluate <run folder>``: returns of a trained agent, and a video."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before what takes seconds to import

# isort: split
import argparse
import sys
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from snnrl.agents.base import SpikingAgent
from snnrl.analysis.run_done import check_sealed
from snnrl.analysis.statistics import mean_interval
from snnrl.errors import UserError, exit_status, with_short_errors
from snnrl.experiment.builder import (
    build_environment,
    episode_starts,
    load_trained,
    use_threads,
)
from snnrl.experiment.checksums import is_whole_model
from snnrl.experiment.episode_starts import EpisodeStarts
from snnrl.experiment.evaluation import Evaluator
from snnrl.experiment.video import record_episode

MODELS = {"last": "model.zip", "best": "best_model.zip"}


def main(argv: list[str] | None = None) -> int:
    """Evaluate, print, and record; the exit status is 0, or 2 for a mistake."""
    parser = argparse.ArgumentParser("python -m snnrl.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path, help="run folder, .../seed-<s>")
    parser.add_argument("--episodes", type=int, default=10, help="episodes to run (default 10)")
    parser.add_argument(
        "--seed",
        type=int,
        default=10_000,
        help="seed of the episodes; the run's own: those of its evaluations",
    )
    parser.add_argument("--model", choices=MODELS, default="best", help="which weights")
    parser.add_argument("--video", action="store_true", help="write an mp4 of one episode")
    return exit_status(lambda: evaluate(with_short_errors(parser).parse_args(argv)))


def evaluate(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for.

    :raises UserError: not a run folder, no such model, or no way to render here
    """
    if arguments.episodes < 1:
        raise UserError(f"--episodes {arguments.episodes}: expected at least 1")
    if arguments.seed < 0:
        raise UserError(f"--seed {arguments.seed}: expected at least 0")
    cfg, model = _find(arguments.folder, arguments.model)
    use_threads(cfg.threads)
    agent = load_trained(cfg, model)
    print(f"{cfg.env.id}, {model.name} after {agent.num_timesteps:,} steps")
    starts = episode_starts(cfg, arguments.seed)
    _print_returns(cfg, agent, arguments.episodes, starts)
    if arguments.video:
        path = arguments.folder / "video.mp4"
        shown = record_episode(agent, cfg, path, starts)
        print(f"video: {path} (return {shown:.1f})")


def _find(folder: Path, which: str) -> tuple[DictConfig, Path]:
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: not a run folder; expected one that holds config.yaml")
    model = folder / MODELS[which]
    if not model.is_file():
        raise UserError(f"{model}: there is no such model yet; the run has not saved one")
    if (folder / "DONE").exists():
        check_sealed(folder, ["config.yaml", model.name])
    if not is_whole_model(model):
        raise UserError(f"{model}: damaged; expected a model that a run has saved")
    try:
        cfg = OmegaConf.load(folder / "config.yaml")
    except (YAMLError, UnicodeDecodeError):
        cfg = None
    parts = ("env", "algo", "actor")
    if not isinstance(cfg, DictConfig) or not all(
        isinstance(cfg.get(part), DictConfig) for part in parts
    ):
        raise UserError(f"{folder / 'config.yaml'}: expected the configuration of a run")
    return cfg, model


def _print_returns(
    cfg: DictConfig, agent: SpikingAgent, episodes: int, starts: EpisodeStarts
) -> None:
    limit = OmegaConf.select(cfg, "evaluation.max_episode_steps")
    evaluator = Evaluator(lambda: build_environment(cfg), episodes, starts, limit)
    played = evaluator.run(agent)
    for episode in played:
        print(f"  episode {episode.index}: {episode.total_reward:.2f} in {episode.length} steps")
    mean, deviation, low, high = mean_interval([episode.total_reward for episode in played])
    if np.isnan(low):
        print(f"return {mean:.2f} (one episode: no deviation, no interval)")
    else:
        print(f"return {mean:.2f}, sd {deviation:.2f}, 95 % interval [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    sys.exit(main())
