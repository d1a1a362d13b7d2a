"""Time that a user waits, from the start of Python to the first gradient step and action."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from scripts.bench.kernels import kernels
from scripts.bench.options import Options
from scripts.bench.race import FAILED, REFERENCE, UNCHECKED, Row, Table

TURNS, QUICK_TURNS = 3, 1
TIMEOUT = 600

CACHES = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "XDG_CACHE_HOME": "cache",
    "HOME": "home",
}
"""Variable that tells backends where to keep compiled code -> name of a folder."""

NOTE = (
    "TD3, each time in a fresh process: start of Python, imports, agent, random steps, one "
    "gradient step of each kind, one action. Cold: empty caches; warm: caches that a cold process "
    "has filled"
)


def measure(options: Options) -> list[Table]:
    """Return a table for cold caches and one for warm caches."""
    names = kernels(options)
    cold: dict[str, list[float]] = {name: [] for name in names}
    warm: dict[str, list[float]] = {name: [] for name in names}
    problems: dict[str, str] = {}
    for _ in range(QUICK_TURNS if options.quick else TURNS):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                for seconds in (cold[name], warm[name]):
                    try:
                        seconds.append(one_process(name, Path(folder), options))
                    except (subprocess.SubprocessError, OSError) as problem:
                        problems[name] = last_line(problem)
    return [table(state, seconds, problems) for state, seconds in (("cold", cold), ("warm", warm))]


def table(state: str, seconds: dict[str, list[float]], problems: dict[str, str]) -> Table:
    """Return the seconds of each backend, and the difference from the first."""
    rows = []
    for place, (name, taken) in enumerate(seconds.items()):
        if name in problems:
            rows.append(Row(name, FAILED, problems[name]))
        else:
            rows.append(Row(name, UNCHECKED if place else REFERENCE, "", taken))
    reference = rows[0]
    for row in rows:
        if row.seconds and reference.seconds:
            row.figures["s more than naive"] = row.median - reference.median
    return Table("ready", f"td3, {state}", rows, NOTE)


def one_process(kernel: str, folder: Path, options: Options) -> float:
    """Return the seconds of a process with its caches in ``folder``."""
    places = {variable: str(folder / name) for variable, name in CACHES.items()}
    for place in places.values():
        Path(place).mkdir(exist_ok=True)
    command = [sys.executable, "-m", "scripts.bench.get_ready", kernel, options.device]
    command += [str(options.threads), *(["quick"] if options.quick else [])]
    environment = {**os.environ, **places}
    began = perf_counter()
    subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=TIMEOUT
    )
    return perf_counter() - began


def last_line(problem: Exception) -> str:
    """Return the last line that the process wrote as an error, else that of the problem."""
    said = getattr(problem, "stderr", None) or str(problem)
    text = said.decode() if isinstance(said, bytes) else said
    return text.strip().splitlines()[-1]
