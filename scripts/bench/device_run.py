"""Training runs on a device by the command: uninterrupted, and killed and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import sleep

from scripts.bench.findings import Findings
from scripts.bench.options import Options
from snnrl.run_format.names import EVALUATIONS

SETTINGS = (
    "env=inverted_pendulum",
    "actor.hidden=[64,64]",
    "critic.hidden=[64,64]",
    "algo.batch_size=64",
    "algo.buffer_size=1000",
    "algo.learning_starts=50",
    "total_steps=300",
    "evaluation.every=100",
    "evaluation.episodes=2",
    "checkpoint.every=50",
    "bn.recalibrate_every=75",
    "bn.recalibrate_batches=4",
    "tracking=none",
)
STOPPED_AT = 2
"""Number of the checkpoint at which the run is killed."""


def killed(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Compare the evaluations of a killed and resumed run with those of an uninterrupted one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = command(folder / "whole", algo, kernel, options.device)
        done = subprocess.run(whole, capture_output=True, text=True)
        findings.expect("whole run", done.returncode == 0, (done.stdout + done.stderr)[-2000:])
        again = command(folder / "again", algo, kernel, options.device)
        process = subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and checkpoints(folder / "again") < STOPPED_AT:
            sleep(0.01)
        process.send_signal(signal.SIGKILL)
        findings.expect("killed", process.wait() == -signal.SIGKILL)
        done = subprocess.run(again, capture_output=True, text=True)
        findings.expect("resumed run", done.returncode == 0, (done.stdout + done.stderr)[-2000:])
        findings.note("output", (done.stdout + done.stderr).splitlines()[-8:])
        tables = [one_file(folder / run, EVALUATIONS) for run in ("whole", "again")]
        findings.expect("the same evaluations", tables[0] == tables[1] != "", tables)


def moved(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Resume a run that was killed on one device on another device, in both directions."""
    for first, then in ((options.device, "cpu"), ("cpu", options.device)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            process = subprocess.Popen(
                command(folder, algo, "auto", first),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while process.poll() is None and checkpoints(folder) < STOPPED_AT:
                sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            again = command(folder, algo, "auto", then)
            done = subprocess.run(again, capture_output=True, text=True)
            output = (done.stdout + done.stderr).splitlines()
            findings.note(f"{first}, then {then}: output", output[:6])
            findings.expect(f"{first}, then {then}", done.returncode == 0, output[-20:])


def command(results: Path, algo: str, kernel: str, device: str) -> list[str]:
    """Return the training command."""
    settings = [f"algo={algo}", *SETTINGS, f"kernel={kernel}", f"device={device}"]
    return [sys.executable, "-m", "snnrl.train", *settings, f"results_dir={results}"]


def checkpoints(results: Path) -> int:
    """Return the number of the newest checkpoint, 0 if there is none."""
    found = [path.name for path in results.glob("**/checkpoint/save-*")]
    return max((int(name[5:]) for name in found if name[5:].isdigit()), default=0)


def one_file(folder: Path, name: str) -> str:
    """Return the content of the only file of that name."""
    (path,) = folder.glob(f"**/{name}")
    return path.read_text()
