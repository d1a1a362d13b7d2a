"""What a clone does for the queue, by its own code: compose settings, and do one run.

``python -m scripts.evidence.inside compose`` answers on its output for the command lines on its
input; ``... inside run JOB`` is one run. The queue may be of a later version, so that this is all
it asks of a clone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import snnrl
from snnrl.errors import Interrupted, UserError, exit_status


def compose(jobs: Sequence[Sequence[str]], *, check: bool) -> dict[str, Any]:
    """Compose command lines.

    :param check: whether to check them as the training command does, too
    :return: ``folders``, a run folder or ``{"error": ...}`` for each; ``cores``, the runs of one
        thread that this machine carries; ``package``, where this code is
    """
    from snnrl.experiment.sweep.launchers import cores

    checked: set[tuple[str, ...]] = set()
    folders: list[str | dict[str, str]] = []
    for job in jobs:
        try:
            folders.append(_folder(list(job), checked if check else None))
        except UserError as mistake:
            folders.append({"error": str(mistake)})
    package = str(Path(snnrl.__file__).parent)
    return {"folders": folders, "cores": cores(), "package": package}


def _folder(job: list[str], checked: set[tuple[str, ...]] | None) -> str:
    from snnrl.experiment.config.compose import check_overrides, compose_config, is_sweep
    from snnrl.experiment.config.validate import validate
    from snnrl.experiment.folder.run_folder import RunFolder

    for text in check_overrides(job):
        if is_sweep(text):
            raise UserError(f"{text}: has several values; expected a variant for each")
    cfg = compose_config(job)
    # A seed fits whatever the others are.
    others = tuple(text for text in job if not text.startswith("seed="))
    if checked is not None and others not in checked:
        validate(cfg)
        checked.add(others)
    return str(RunFolder(cfg).path)


def run(job: dict[str, Any]) -> None:
    """Do one run as a sweep does, and save it when the queue is gone.

    :param job: the fields of a sweep's :class:`Job`, and ``parent``, the queue's process
    :raises: what :func:`snnrl.experiment.run.run` does
    """
    # All of it now: a queue that ends in these seconds must be noticed.
    import snnrl.experiment.run  # noqa: F401
    from snnrl.experiment.sweep.job import Job, perform_job

    if os.getppid() != job.pop("parent"):
        raise Interrupted("the queue ended before the run began", 15)
    perform_job(Job(**job), dies_with_parent=True)


def main(argv: list[str]) -> int:
    """Exit status of the command."""
    if argv[0] == "run":
        return exit_status(lambda: run(json.loads(argv[1])))
    print(json.dumps(compose(json.load(sys.stdin), check="--check" in argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
