"""``python -m snnrl.export <run folder> --format ...``: a trained agent for other tools."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before imports that take seconds

# isort: split
import argparse
import math
import sys
from collections.abc import Mapping
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
from snnrl.run_format.names import (
    BEST_MODEL,
    CARD,
    CONFIG,
    COST,
    CURVE,
    HUB,
    OVERRIDES,
    POLICY,
    PROVENANCE,
    REPLAY,
)
from snnrl.run_format.place import check_place, write_files
from snnrl.starting import importing
from snnrl.text import one_line

if TYPE_CHECKING:
    from snnrl.deploy.runtime import Policy

FORMATS = {
    "nir": ("nir",),
    "onnx": ("onnx",),
    "numpy": ("npz",),
    "c": ("c", "h"),
    "hub": (),
}
"""Format -> endings of its files."""

HUB_FILES = (CARD, f"{POLICY}.npz", BEST_MODEL, CONFIG, OVERRIDES, PROVENANCE, CURVE, COST, REPLAY)
"""Files of ``--format hub``."""

INTEGER_FORMATS = ("numpy", "c")
"""Formats of policies with ``--bits``."""


def main(argv: list[str] | None = None) -> int:
    """Export, print and record; return exit status 0, or 2 for a user error."""
    parser = argparse.ArgumentParser(
        "python -m snnrl.export",
        description="Write the spiking actor of a run for other tools, its normalisation folded, "
        "after comparing its spikes with the agent's. Runs no code of the run folder without "
        "--module or --unpickle (docs/security.md).",
    )
    parser.add_argument("folder", type=Path, help="run folder, .../seed-<s>")
    parser.add_argument(
        "--format",
        required=True,
        help="nir (graph for neuromorphic tools), onnx, numpy (run by snnrl.deploy.runtime, which "
        "needs numpy alone), c (C99, without allocation) or hub (a folder with a model card)",
    )
    parser.add_argument(
        "--target",
        help="with --format nir: the tool that will read it: generic (default), snntorch, norse, "
        "lava or spikingjelly",
    )
    parser.add_argument(
        "--bits",
        type=int,
        help="with --format numpy or c: 8, weights of 8 bits and integer membranes",
    )
    parser.add_argument(
        "--upload",
        metavar="USER/NAME",
        help="with --format hub: create this repository on the hub of Hugging Face if it is not "
        "there, and upload the folder; needs the extra hub and a login",
    )
    parser.add_argument(
        "--episodes",
        type=int,
        default=EPISODES,
        help="episodes that are played with the agent and with what is written (default 10)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=EPISODES_SEED,
        help="seed of the episodes (default 10000)",
    )
    add_model(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the files (default: the run folder; of --format hub its folder hub)",
    )
    add_module(parser)
    return exit_status(
        lambda: export(with_short_errors(parser).parse_args(argv)), output_is_result=True
    )


def export(arguments: argparse.Namespace) -> None:
    """Run what the command line requests.

    :raises UserError: an unknown format or target, options that do not go together, not a run
        folder, no such model, an agent that the format does not express, or no place for the files
    """
    # Torch stays out until the command line and the run are known to be right.
    from snnrl.deploy.hub import check_upload, upload
    from snnrl.deploy.targets import check_target
    from snnrl.errors import expect

    check_episodes(arguments.episodes, arguments.seed)
    expect("--format", arguments.format, FORMATS)
    if arguments.target is not None:
        if arguments.format != "nir":
            raise UserError(
                f"--target {arguments.target}: is for --format nir; expected no --target"
            )
        check_target(arguments.target)
    if arguments.upload is not None:
        if arguments.format != "hub":
            raise UserError(
                f"--upload {arguments.upload}: is for --format hub; expected no --upload"
            )
        check_upload(arguments.upload)
    if arguments.bits is not None and arguments.format not in INTEGER_FORMATS:
        raise UserError(
            f"--bits {arguments.bits}: is for --format {' or '.join(INTEGER_FORMATS)}; expected no "
            "--bits"
        )
    if arguments.bits not in (None, 8):
        raise UserError(f"--bits {arguments.bits}: expected 8")
    folder: Path = arguments.folder
    cfg, model = find_model(folder, arguments.model, arguments.module)
    if classifies(cfg):
        raise UserError(f"{folder}: is of a data set, which has no episodes; expected a run of RL")
    if cfg.actor.name != "spiking":
        raise UserError(
            f"{folder}: actor={cfg.actor.name} has no spikes; expected a run of actor=spiking"
        )
    hub = arguments.format == "hub"
    usual = folder / HUB if hub else folder
    out: Path = usual if arguments.out is None else arguments.out
    stem = POLICY if arguments.bits is None else f"{POLICY}_{arguments.bits}bit"
    names = HUB_FILES if hub else [f"{stem}.{each}" for each in FORMATS[arguments.format]]
    check_place(out, f"--out {out}", names)
    import_named(arguments.module)
    check_code(cfg, arguments.module)
    if hub and out.is_symlink():
        raise UserError(f"--out {out}: is a link; expected a folder of its own for a hub")
    files = _contents(arguments, cfg, model, stem)
    _write(out, files)
    if arguments.upload is not None:
        upload(out, arguments.upload, files)
        print(one_line(f"uploaded to https://huggingface.co/{arguments.upload}"))


def _contents(
    arguments: argparse.Namespace, cfg: DictConfig, model: Path, stem: str
) -> Mapping[str, bytes]:
    """Return the files; print what was compared.

    :param stem: name of the files without their endings
    """
    # These take seconds to import, which no error that was found by now has to wait for.
    with importing():
        from snnrl.deploy.folding import fold
        from snnrl.deploy.quantising import quantise
        from snnrl.experiment.builder import build_evaluator
        from snnrl.experiment.config.check_spaces import check_environment
        from snnrl.experiment.evaluation import Evaluator
        from snnrl.experiment.exported import play
        from snnrl.experiment.hub_files import hub_files
        from snnrl.experiment.trained import load_trained

    check_environment(cfg)
    for line in changes_since(arguments.folder, cfg):
        print(one_line(line))
    agent = load_trained(cfg, model, unpickle=arguments.unpickle)
    use_threads(cfg, agent.kernel, most=cores())
    unfinished = progress_of(arguments.folder, cfg)
    steps = f"{agent.num_timesteps:,} steps"
    print(one_line(f"{cfg.env.id}, {model.name} after {steps}{unfinished}"))
    about = {"of": f"{cfg.env.id}, {cfg.algo.name}, {steps}", "seed": str(cfg.seed)}
    policies = [fold(agent, about)]
    if arguments.bits is not None:
        policies.append(quantise(policies[0], arguments.bits))
    # A refusal comes before episodes that take minutes.
    contents = _encoded(policies[-1], arguments.format, arguments.target or "generic", stem)
    evaluator = build_evaluator(cfg, arguments.episodes, arguments.seed)
    assert isinstance(evaluator, Evaluator)
    played = play(agent, policies, evaluator)
    agreement = played.agreement
    print(
        f"{agreement.spikes:,} spikes compared with the agent's: equal but for {agreement.near} "
        "neurons whose potential is at the threshold"
    )
    for name, returns in zip(
        ["agent", "exported", f"exported, {arguments.bits} bits"],
        [played.agent, *played.policies],
        strict=False,
    ):
        print(f"{name}: {_return(returns)}")
    if arguments.format == "hub":
        contents = {**contents, **hub_files(arguments, cfg, model, agent, played, unfinished)}
    return contents


def _return(returns: list[float]) -> str:
    from snnrl.analysis.statistics import mean_interval

    mean, deviation, low, high = mean_interval(returns)
    if math.isnan(low):
        return f"return {mean:.2f} (one episode: no deviation, no interval)"
    return f"return {mean:.2f}, sd {deviation:.2f}, 95 % interval [{low:.2f}, {high:.2f}]"


def _encoded(policy: Policy, kind: str, target: str, stem: str) -> dict[str, bytes]:
    from snnrl.deploy.runtime import to_bytes
    from snnrl.deploy.to_c import to_c
    from snnrl.deploy.to_nir import to_nir
    from snnrl.deploy.to_onnx import to_onnx

    if kind == "nir":
        return {f"{stem}.nir": to_nir(policy, target)}
    if kind == "onnx":
        return {f"{stem}.onnx": to_onnx(policy)}
    if kind == "c":
        source, header = to_c(policy, stem)
        return {f"{stem}.c": source.encode(), f"{stem}.h": header.encode()}
    return {f"{stem}.npz": to_bytes(policy)}


def _write(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files, once all are complete.

    :raises UserError: they cannot be written
    """
    write_files(out, contents)
    for name, each in contents.items():
        print(one_line(f"wrote {out / name} ({len(each):,} bytes)"))


if __name__ == "__main__":
    sys.exit(main())
