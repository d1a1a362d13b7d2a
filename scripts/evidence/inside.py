"""Commands that the queue runs with the code of a clone: compose settings, execute one run.

``python -m scripts.evidence.inside compose`` reads command lines from its input and answers on its
output. ``... inside run JOB`` executes one run. The queue may be of a later version than the clone,
so it uses nothing else of it.
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
    """Compose the configurations of command lines.

    :param check: whether to check them, too, as the training command does
    :return: ``folders``: the run folder or ``{"error": ...}`` of each; ``cores``: the number of
        single-threaded runs that this machine executes in parallel; ``package``: folder of this
        code
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
    from snnrl.experiment.config.compose import compose_config
    from snnrl.experiment.config.overrides import check_overrides, is_sweep
    from snnrl.experiment.config.validate import validate
    from snnrl.experiment.folder.run_folder import RunFolder

    for text in check_overrides(job):
        if is_sweep(text):
            raise UserError(f"{text}: has several values; expected a variant for each")
    cfg = compose_config(job)
    # A seed is valid with any other settings.
    others = tuple(text for text in job if not text.startswith("seed="))
    if checked is not None and others not in checked:
        validate(cfg)
        checked.add(others)
    return str(RunFolder(cfg).path)


def run(job: dict[str, Any]) -> None:
    """Execute one run as a sweep does; save and stop it if the queue ends.

    :param job: fields of a sweep's :class:`Job`, and ``parent``, the process id of the queue
    :raises: as :func:`snnrl.experiment.run.run`
    """
    # Before the check below: this takes seconds, and the queue may end meanwhile.
    import snnrl.experiment.run  # noqa: F401
    from snnrl.experiment.sweep.job import Job, perform_job

    if os.getppid() != job.pop("parent"):
        raise Interrupted("the queue ended before the run began", 15)
    perform_job(Job(**job), dies_with_parent=True)


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    if argv[0] == "run":
        return exit_status(lambda: run(json.loads(argv[1])))
    print(json.dumps(compose(json.load(sys.stdin), check="--check" in argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
