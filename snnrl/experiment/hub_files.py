"""Files of a folder for a model hub: the card and what it shows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from snnrl.agents.base import SpikingAgent
from snnrl.deploy.card import CardFacts, card
from snnrl.deploy.cost import cost_of
from snnrl.deploy.cost_table import to_csv
from snnrl.errors import UserError
from snnrl.experiment.builder import episode_starts
from snnrl.experiment.exported import Played
from snnrl.experiment.video import record_episode
from snnrl.run_format.config import read_overrides
from snnrl.run_format.names import (
    CARD,
    CONFIG,
    COST,
    CURVE,
    OVERRIDES,
    OWN_RUNS,
    PROVENANCE,
    REPLAY,
)
from snnrl.run_format.provenance import EARLIER, PLUGINS, SOURCES, read_provenance

PUBLISHED = ("started", "kernel", "threads", "versions", PLUGINS, SOURCES)
"""Facts of a start that are for others."""


def hub_files(
    arguments: argparse.Namespace,
    cfg: DictConfig,
    model: Path,
    agent: SpikingAgent,
    played: Played,
    unfinished: str,
) -> dict[str, bytes]:
    """Return the files but the policy. Print why there is no film, if there is none.

    :param arguments: of :mod:`snnrl.export`
    :param model: file of the weights
    :param unfinished: how far a run is that is not done; empty if it is
    """
    folder: Path = arguments.folder
    for file in (model, folder / CONFIG):
        if file.is_symlink():
            raise UserError(f"{file}: is a link; expected the file itself, to publish")
    files = {model.name: model.read_bytes()}
    config = OmegaConf.load(folder / CONFIG)
    config.results_dir = OWN_RUNS
    files[CONFIG] = OmegaConf.to_yaml(config).encode()
    overrides = [
        str(each)
        for each in read_overrides(folder) or []
        if not str(each).startswith("results_dir=")
    ]
    files[OVERRIDES] = yaml.safe_dump(overrides).encode()
    curve = folder / CURVE
    if curve.is_file() and not curve.is_symlink():
        files[CURVE] = curve.read_bytes()
    film = _film(agent, cfg, arguments.seed)
    if film is not None:
        files[REPLAY] = film
    cost = cost_of(agent, played.observations)
    files[COST] = to_csv(cost).encode()
    starts = [_published(start) for start in read_provenance(folder)]
    last = starts[-1] if starts else {}
    earlier = {EARLIER: starts[:-1]} if len(starts) > 1 else {}
    files[PROVENANCE] = json.dumps({**last, **earlier}, indent=2).encode()
    facts = CardFacts(
        env=cfg.env.id,
        algo=cfg.algo.name,
        label=f"{cfg.algo.name.upper()}, {cfg.neuron.name}, bn={cfg.bn.name}",
        steps=agent.num_timesteps,
        seed=cfg.seed,
        returns=played.agent,
        episodes_seed=arguments.seed,
        cost=cost,
        overrides=overrides,
        versions=last.get("versions", {}),
        revision=last.get("revision"),
        model=model.name,
        has_picture=CURVE in files,
        has_film=film is not None,
        unfinished=unfinished,
    )
    return {**files, CARD: card(facts).encode()}


def _published(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a start that are for others: not the text of uncommitted files."""
    kept = {key: start[key] for key in PUBLISHED if key in start}
    git = start.get("git")
    revision = git.get("revision") if isinstance(git, dict) else None
    return {**kept, **({} if revision is None else {"revision": str(revision)})}


def _film(agent: SpikingAgent, cfg: DictConfig, seed: int) -> bytes | None:
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / REPLAY
        try:
            record_episode(agent, cfg, path, episode_starts(cfg, seed))
        except UserError as problem:
            print(f"no film: {problem}")
            return None
        return path.read_bytes()
