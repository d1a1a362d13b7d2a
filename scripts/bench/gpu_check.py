"""Check everything that needs a GPU, unattended and within a time limit.

    python -m scripts.bench.gpu_check --out FOLDER --budget 340

Each stage is a process of its own (:mod:`scripts.bench.gpu_stages`), the most important first. A
stage that fails or takes too long is reported in the results, and the others still run.
``<card>-<date>-check.json`` is rewritten after each stage, so an interrupted check leaves its
results. The exit status is 0, or 1 if a stage failed or was not reached.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

from scripts.bench.gpu_stages import Stage, python, rounds
from scripts.bench.options import Options
from scripts.bench.report import facts
from snnrl.errors import UserError, exit_status, with_short_errors

LEAST_SECONDS = 10
"""Seconds that must be left for a round to start."""

KEPT_LINES = 60
PASSED, FAILED, TOO_LONG, NOT_REACHED = "passed", "failed", "took too long", "not reached"


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0, 1 if a stage failed or was not reached, 2 for a user error."""
    return exit_status(lambda: _main(arguments))


def _main(arguments: Sequence[str]) -> int:
    began = monotonic()
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument(
        "--budget", type=int, default=360, help="time limit for all rounds, in seconds (360)"
    )
    parser.add_argument("--rounds", help="names of rounds, separated by commas (all)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a smoke test")
    given = with_short_errors(parser).parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    known = dict(rounds(given.out, given.device, given.quick))
    chosen = given.rounds.split(",") if given.rounds else list(known)
    for name in chosen:
        if name not in known:
            raise UserError(f"--rounds={name}: expected some of {', '.join(known)}")

    def left() -> float:
        return given.budget - (monotonic() - began)

    report = Report(given.out, given.device)
    for name in chosen:
        if left() < LEAST_SECONDS:
            for stage in known[name]:
                report.add(stage, {"status": NOT_REACHED})
            continue
        print(f"\n== {name}, {left():.0f} s left", flush=True)
        with ThreadPoolExecutor(len(known[name])) as pool:
            for stage, result in zip(
                known[name], pool.map(lambda one: run(one, left), known[name]), strict=True
            ):
                report.add(stage, result)
    print(f"\nwritten to {report.file}")
    return 1 if report.wrong else 0


class Report:
    """Results of the stages, written to disk after each.

    :param folder: folder of the results
    """

    def __init__(self, folder: Path, device: str):
        self.found = facts(Options(device=device))
        self.found["command"] = ["python", "-m", "scripts.bench.gpu_check", *sys.argv[1:]]
        self.found["stages"] = {}
        hardware = self.found["hardware"]
        card = hardware["gpu" if device == "cuda" else "cpu"]
        date = re.sub(r"\D", "", self.found["started"][:19])
        slug = re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
        self.file = folder / f"{slug}-{date[:8]}-{date[8:]}-check.json"
        self.wrong: list[str] = []

    def add(self, stage: Stage, result: dict[str, Any]) -> None:
        """Record and print the result of a stage."""
        self.found["stages"][stage.name] = result
        self.file.write_text(json.dumps(self.found, indent=1) + "\n")
        if result["status"] != PASSED:
            self.wrong.append(stage.name)
        print(f"{stage.name}: {result['status']}, {result.get('seconds', 0):.1f} s", flush=True)
        for line in result.get("failed", []):
            value = result["values"].get(line)
            text = "\n    ".join(map(str, value)) if isinstance(value, list) else value
            print(f"  {line}: {text}"[-1500:], flush=True)
        if result["status"] == FAILED and not result.get("failed"):
            print("  " + "\n  ".join(result["output"][-12:]), flush=True)


def run(stage: Stage, left: Callable[[], float]) -> dict[str, Any]:
    """Run a stage and return its status, seconds, findings and last lines of output."""
    began = monotonic()
    limit = max(1.0, min(stage.seconds, left()))
    process = subprocess.Popen(
        python(stage),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
        status = FAILED if process.returncode else PASSED
    except subprocess.TimeoutExpired:
        # With its children.
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        status = TOO_LONG
    found: dict[str, Any] = {"status": status, "seconds": round(monotonic() - began, 1)}
    if stage.file is not None and stage.file.exists():
        found |= json.loads(stage.file.read_text())
        stage.file.unlink()
    return {**found, "output": output.splitlines()[-KEPT_LINES:]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
