"""``python -m snnrl.inspect <run folder>``: a look inside a trained spiking agent, as a page."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before imports that take seconds

# isort: split
import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError, exit_status, with_short_errors
from snnrl.experiment.config.choices import classifies
from snnrl.experiment.reproduction.arguments import (
    EPISODES_SEED,
    add_model,
    add_module,
    check_episodes,
)
from snnrl.experiment.reproduction.own_code import changes_since
from snnrl.experiment.reproduction.remake import check_code
from snnrl.experiment.reproduction.saved_model import MODELS, find_model, progress_of
from snnrl.experiment.threads import cores, use_threads
from snnrl.imports import import_named
from snnrl.run_format.config import flatten
from snnrl.run_format.names import INSPECTION, INSPECTION_FILMS
from snnrl.run_format.place import check_place, write_files
from snnrl.run_format.status import status_of
from snnrl.starting import importing
from snnrl.text import one_line

if TYPE_CHECKING:
    from snnrl.agents.base import SpikingAgent
    from snnrl.analysis.inspection.layers import LayerSeen
    from snnrl.experiment.inspection import Played

STEPS = 200
"""Steps of the film: ten seconds, and a GIF of about a megabyte."""

NO_FILM = "none"


def main(argv: list[str] | None = None) -> int:
    """Inspect and write the page; return exit status 0, or 2 for a user error."""
    parser = argparse.ArgumentParser(
        "python -m snnrl.inspect",
        description="A look inside a trained spiking agent, as one page without outside resources: "
        "an episode's film beside its spikes, firing rates, membrane potentials before and after "
        "normalisation, dead and saturated neurons, gradients. Runs no code of the run folder "
        "without --module or --unpickle (docs/security.md).",
    )
    parser.add_argument("folder", type=Path, help="run folder of actor=spiking, .../seed-<s>")
    parser.add_argument(
        "--seed", type=int, default=EPISODES_SEED, help="seed of the episode (default 10000)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        help=f"steps of the episode, or of several short ones (default {STEPS})",
    )
    parser.add_argument(
        "--film",
        choices=[*INSPECTION_FILMS, NO_FILM],
        default="gif",
        help="kind of the film, which is also written beside the page (default gif)",
    )
    add_model(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the files (default: the run folder)"
    )
    add_module(parser)
    words = sys.argv[1:] if argv is None else argv
    return exit_status(
        lambda: inspect(with_short_errors(parser).parse_args(words), words), output_is_result=True
    )


def inspect(arguments: argparse.Namespace, words: Sequence[str]) -> None:
    """Run what the command line requests.

    :param words: the command line, for the page
    :raises UserError: a number out of its range, not a run folder, no such model, an ordinary actor
        or a data set, no way to render here, or no place for the files
    """
    check_episodes(None, arguments.seed)
    if arguments.steps < 1:
        raise UserError(f"--steps {arguments.steps}: expected at least 1")
    folder: Path = arguments.folder
    cfg, model = find_model(folder, arguments.model, arguments.module)
    if classifies(cfg):
        raise UserError(f"{folder}: is of a data set, which has no episodes; expected a run of RL")
    if cfg.actor.name == "ann":
        raise UserError(
            f"{folder}: actor=ann does not spike; expected a run of actor=spiking "
            "(python -m snnrl.convert makes spikes of an ordinary actor)"
        )
    out: Path = folder if arguments.out is None else arguments.out
    names = [
        INSPECTION,
        *(name for kind, name in INSPECTION_FILMS.items() if kind == arguments.film),
    ]
    check_place(out, f"--out {out}", names)
    import_named(arguments.module)
    check_code(cfg, arguments.module)
    _write(out, _measured(arguments, cfg, model, words))


def _measured(
    arguments: argparse.Namespace, cfg: DictConfig, model: Path, words: Sequence[str]
) -> dict[str, bytes]:
    """Return the files by their names; print what they say in words."""
    # These take seconds to import, which no error that was found by now has to wait for.
    with importing():
        from snnrl.analysis.inspection.layers import layer_warnings
        from snnrl.analysis.inspection.page import Inspection, to_html
        from snnrl.experiment.builder import episode_starts
        from snnrl.experiment.config.check_spaces import check_environment
        from snnrl.experiment.config.label import label
        from snnrl.experiment.inspection import can_render, inspect_layers, play
        from snnrl.experiment.trained import load_trained
        from snnrl.experiment.video import video_writer

    check_environment(cfg)
    for line in changes_since(arguments.folder, cfg):
        print(one_line(line))
    if arguments.film == "mp4":
        video_writer("--film mp4")
    agent = load_trained(cfg, model, unpickle=arguments.unpickle)
    use_threads(cfg, agent.kernel, most=cores())
    unfinished = progress_of(arguments.folder, cfg)
    head = f"{cfg.env.id}, {model.name} after {agent.num_timesteps:,} steps{unfinished}"
    print(one_line(head))
    films = arguments.film != NO_FILM and can_render(cfg)
    played = play(agent, cfg, episode_starts(cfg, arguments.seed), arguments.steps, film=films)
    print(played.in_words())
    layers = inspect_layers(agent, played.observations, str(arguments.folder))
    layers = _over_training(arguments, cfg, agent, layers, played)
    notes = layer_warnings(layers)
    if unfinished:
        notes.insert(0, f"the model is that after {agent.num_timesteps:,} steps{unfinished}")
    for note in notes:
        print(one_line(f"warning: {note}"))
    content = _film(arguments.film, cfg, played, layers) if films else {}
    page = to_html(
        Inspection(
            title=f"{cfg.env.id}, {label(cfg)}, seed {cfg.seed}",
            facts=[f"{head}.", f"{played.in_words()} (--seed {arguments.seed})."],
            warnings=notes,
            layers=layers,
            film=next(iter(content.values()), None),
            film_kind=arguments.film,
            no_film=(
                "No film was asked for."
                if arguments.film == NO_FILM
                else f"No film: {cfg.env.id} does not draw pictures."
            ),
            settings=_settings(cfg),
            command=shlex.join(["python", "-m", "snnrl.inspect", *words]),
        )
    )
    return {INSPECTION: page.encode(), **content}


def _over_training(
    arguments: argparse.Namespace,
    cfg: DictConfig,
    agent: SpikingAgent,
    layers: Sequence[LayerSeen],
    played: Played,
) -> list[LayerSeen]:
    """Return the layers with their firing rates over training, as far as they are known."""
    from snnrl.experiment.inspection import neuron_rates, progress_columns
    from snnrl.experiment.trained import initial_agent, load_trained
    from snnrl.run_format.progress import read_firing_rates

    folder, asked = arguments.folder, str(arguments.folder)
    # By steps, as the best model may be the last one, or the first.
    models: dict[int, tuple[list[str], SpikingAgent]] = {0: (["start"], initial_agent(cfg))}
    for which, file in MODELS.items():
        if which == arguments.model:
            other = agent
        elif (folder / file).is_file():
            _, path = find_model(folder, which, arguments.module)
            other = load_trained(cfg, path, unpickle=arguments.unpickle)
        else:
            continue
        names, _ = models.setdefault(other.num_timesteps, ([], other))
        names.append(which)
    rates = {
        f"{' and '.join(names)}, step {steps:,}": neuron_rates(one, played.observations, asked)
        for steps, (names, one) in sorted(models.items())
    }
    table, columns = read_firing_rates(folder, status_of(folder)), progress_columns(agent, asked)
    found = []
    for layer in layers:
        column = table.get(columns[layer.name])
        curve = None if column is None else column.dropna()
        found.append(
            replace(
                layer,
                rates_by_model={name: of_model[layer.name] for name, of_model in rates.items()},
                training=None if curve is None else (curve.index.to_numpy(), curve.to_numpy()),
            )
        )
    return found


def _film(
    kind: str, cfg: DictConfig, played: Played, layers: Sequence[LayerSeen]
) -> dict[str, bytes]:
    from snnrl.analysis.inspection.film import film, gif, seconds_of
    from snnrl.experiment.video import mp4

    seconds = seconds_of(played.fps)
    pictures = list(film(played.frames, played.moments, layers, cfg.env.id))
    content = gif(pictures, seconds) if kind == "gif" else mp4(pictures, 1 / seconds, "--film mp4")
    return {INSPECTION_FILMS[kind]: content}


def _settings(cfg: DictConfig) -> dict[str, str]:
    from snnrl.analysis.shown_config import shown_config

    config: Any = OmegaConf.to_container(cfg)
    return {key: str(value) for key, value in sorted(flatten(shown_config(config)))}


def _write(out: Path, content: dict[str, bytes]) -> None:
    """Write the files, once all are complete.

    :raises UserError: they cannot be written
    """
    write_files(out, content)
    for name in content:
        print(one_line(f"wrote {out / name}"))


if __name__ == "__main__":
    sys.exit(main())
