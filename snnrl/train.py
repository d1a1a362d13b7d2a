"""``python -m snnrl.train``: train an agent, or a sweep of them, with Hydra."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnrl.errors import Interrupted, RunFailed, UserError
from snnrl.experiment.config import (
    CONFIG_DIR,
    check_override,
    compose_config,
    expand,
    explain,
    is_sweep,
)
from snnrl.experiment.help import help_text
from snnrl.experiment.run import run
from snnrl.experiment.schema import register
from snnrl.experiment.validate import validate


def main(argv: list[str] | None = None) -> int:
    """Check the command line, run what it asks for, turn errors into an exit status.

    :param argv: arguments, those of the process if not given
    """
    argv = sys.argv[1:] if argv is None else argv
    return _status(lambda: _main(argv))


def _main(argv: list[str]) -> None:
    flags = _parse(argv)
    if flags.help:
        print(help_text())
        return
    overrides = [check_override(text) for text in flags.overrides]
    configs = [compose_config(single) for single in expand(overrides)]
    for cfg in configs:
        validate(cfg)
    if not _needs_hydra(flags):
        for text in filter(is_sweep, overrides):
            raise UserError(f"{text}: has several values; expected -m with a sweep")
        run(configs[0], overrides)
        return
    options = [argument for argument in argv if argument not in flags.overrides]
    _hand_to_hydra([*options, *overrides])


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists what there is")

    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(argv)
    for name in ("config_path", "config_name", "config_dir", "experimental_rerun"):
        if getattr(flags, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: expected key=value in its place")
    return flags


def _needs_hydra(flags: argparse.Namespace) -> bool:
    """Whether more is asked for than one run, such as a sweep or to show the configuration."""
    return any(value for name, value in vars(flags).items() if name not in ("overrides", "run"))


def _hand_to_hydra(arguments: list[str]) -> None:
    sys.argv = [sys.argv[0], *arguments]
    # Hydra would print a traceback and exit by itself; this makes it raise.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")(_job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None
    except (UserError, RunFailed):
        raise RunFailed("not every run of the sweep is done; the lines above say why") from None


def _job(cfg: DictConfig) -> float:
    """One run of a sweep; its value is what an optimiser of settings maximises."""
    overrides = list(HydraConfig.get().overrides.task)
    OmegaConf.resolve(cfg)
    try:
        return run(cfg, overrides).final_return
    except (UserError, RunFailed) as problem:
        # Hydra does the other runs of the sweep first, and then raises one error only.
        print(f"failed: {' '.join(overrides)}: {problem}", file=sys.stderr)
        raise


def _status(command: Callable[[], None]) -> int:
    try:
        command()
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    except RunFailed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 128 + interrupted.signal_number
    except KeyboardInterrupt:
        print("stopped at once; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
