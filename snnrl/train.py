"""``python -m snnrl.train``: train an agent, or a sweep of them, with Hydra."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from snnrl.errors import Interrupted, RunFailed, UserError
from snnrl.experiment.config import CONFIG_DIR, check_overrides, compose_config, expand
from snnrl.experiment.help import help_text
from snnrl.experiment.run import run
from snnrl.experiment.schema import register
from snnrl.experiment.validate import validate


def job(cfg: DictConfig) -> float:
    """One job of Hydra's; its value is what an optimiser of settings maximises."""
    return run(cfg, list(HydraConfig.get().overrides.task)).final_return


def main(argv: list[str] | None = None) -> int:
    """Check the command line, hand it to Hydra, turn errors into an exit status.

    :param argv: arguments, those of the process if not given
    """
    argv = sys.argv[1:] if argv is None else argv
    return _status(lambda: _main(argv))


def _main(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(help_text())
        return
    parsed = get_args_parser().parse_args(argv)
    overrides = check_overrides(parsed.overrides)
    own = [text for text in overrides if not text.lstrip("+~").startswith("hydra")]
    for single in expand(own):
        validate(compose_config(single))
    checked = dict(zip(parsed.overrides, overrides, strict=True))
    sys.argv = [sys.argv[0], *(checked.get(argument, argument) for argument in argv)]
    # Hydra would print a traceback and exit by itself; this makes it raise.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")(job)()


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
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
