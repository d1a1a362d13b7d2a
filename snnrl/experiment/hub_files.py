"""Files of a folder for a model hub: the card and what it shows."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from snnrl.agents.base import SpikingAgent
from snnrl.deploy.card import CardFacts, card
from snnrl.deploy.cost import cost_of
from snnrl.deploy.cost_table import to_csv
from snnrl.errors import UserError
from snnrl.experiment.builder import episode_starts
from snnrl.experiment.exported import Played
from snnrl.experiment.video import record_episode
from snnrl.run_format.config import read_overrides
from snnrl.run_format.names import BEST_MODEL, CARD, CONFIG, COST, CURVE, RECORD, REPLAY
from snnrl.run_format.provenance import read_provenance


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
    files = {BEST_MODEL: model.read_bytes()}
    files |= {name: (folder / name).read_bytes() for name in (*RECORD, CURVE) if _has(folder, name)}
    film = _film(agent, cfg, arguments.seed)
    if film is not None:
        files[REPLAY] = film
    cost = cost_of(agent, played.observations)
    files[COST] = to_csv(cost).encode()
    starts = read_provenance(folder)
    last = starts[-1] if starts else {}
    facts = CardFacts(
        env=cfg.env.id,
        algo=cfg.algo.name,
        label=f"{cfg.algo.name.upper()}, {cfg.neuron.name}, bn={cfg.bn.name}",
        steps=agent.num_timesteps,
        seed=cfg.seed,
        returns=played.agent,
        episodes_seed=arguments.seed,
        cost=cost,
        overrides=list(map(str, read_overrides(folder) or [])),
        versions=last.get("versions", {}),
        revision=(last.get("git") or {}).get("revision"),
        has_picture=CURVE in files,
        has_film=film is not None,
        unfinished=unfinished,
    )
    return {**files, CARD: card(facts).encode()}


def _has(folder: Path, name: str) -> bool:
    # A link may lead to a file that is nobody's to publish.
    return name == CONFIG or ((folder / name).is_file() and not (folder / name).is_symlink())


def _film(agent: SpikingAgent, cfg: DictConfig, seed: int) -> bytes | None:
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / REPLAY
        try:
            record_episode(agent, cfg, path, episode_starts(cfg, seed))
        except UserError as problem:
            print(f"no film: {problem}")
            return None
        return path.read_bytes()
