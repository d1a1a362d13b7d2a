"""The seconds in which a command imports what it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from omegaconf import OmegaConf

import snnrl
from snnrl import starting
from snnrl.errors import exit_status
from snnrl.experiment.config.compose import compose_config
from snnrl.run_format.model import DATA, WEIGHTS

HOOK = """
import os, signal, sys

class Hook:
    def find_spec(self, name, path, target=None):
        if name == "numpy":
            {action}

sys.meta_path.insert(0, Hook())
"""
"""Happens when the first large package is imported."""


def start(
    command: str, action: str, tmp_path: Path, **options: Any
) -> subprocess.CompletedProcess[str]:
    """A command during whose imports something happens.

    Help and mistakes need none of the large packages; whatever looks at a run does.
    """
    (tmp_path / "sitecustomize.py").write_text(HOOK.format(action=action))
    run = tmp_path / "run"
    run.mkdir()
    actor = "ann" if command == "convert" else "spiking"
    composed = compose_config(["env=pendulum", f"actor={actor}"])
    config = OmegaConf.to_yaml(composed, resolve=True)
    (run / "config.yaml").write_text(config)
    (run / "provenance.json").write_text('{"versions": {}}')
    with ZipFile(run / "best_model.zip", "w") as model:
        for entry in (DATA, WEIGHTS):
            model.writestr(entry, "")
    argument = {"train": "seed=1", "compare": "--help"}
    checkout = str(Path(snnrl.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-m", f"snnrl.{command}", argument.get(command, "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), checkout])},
        cwd=tmp_path,
        text=True,
        **{"capture_output": True, **options},
    )


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "reproduce", "convert"])
def test_ctrl_c_in_the_imports(command: str, tmp_path: Path) -> None:
    done = start(command, "os.kill(os.getpid(), signal.SIGINT)", tmp_path)
    assert (done.returncode, done.stderr) == (130, "stopped at once\n")
    # ``reproduce`` has said by then what ran.
    assert (done.stdout == "") == (command != "reproduce")


def test_little_memory_in_the_imports(tmp_path: Path) -> None:
    problem = "libtorch_cpu.so: failed to map segment from shared object"
    done = start("train", f"raise ImportError({problem!r})", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"failed: not enough memory on this machine ({problem})\n"


def test_an_import_that_fails_of_something_else(tmp_path: Path) -> None:
    done = start("train", "raise ImportError('no such thing')", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "ImportError: no such thing\n" in done.stderr


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    report = tmp_path / "report"
    action = (
        "open(" + repr(str(report)) + ", 'w').write(' '.join("
        "os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2))); os._exit(0)"
    )
    arguments = "-m snnrl.train <&- >&- 2>&-"
    (tmp_path / "sitecustomize.py").write_text(HOOK.format(action=action))
    checkout = str(Path(snnrl.__file__).parent.parent)
    path = os.pathsep.join([str(tmp_path), checkout])
    subprocess.run(
        f"{sys.executable} {arguments}",
        shell=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert report.read_text() == "/dev/null /dev/null /dev/null"


def test_after_the_imports_ctrl_c_is_the_command_s(monkeypatch: pytest.MonkeyPatch) -> None:
    before, hook = signal.getsignal(signal.SIGINT), sys.excepthook
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        starting.begin()
        assert signal.getsignal(signal.SIGINT) is starting._stop
        assert exit_status(lambda: signal.raise_signal(signal.SIGINT)) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        # What a shell lets a command in the background ignore stays ignored.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        starting.begin()
        starting.imported()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
        sys.excepthook = hook


def test_an_import_of_the_package_changes_nothing() -> None:
    assert signal.getsignal(signal.SIGINT) is not starting._stop
    assert sys.excepthook is not starting._explain
