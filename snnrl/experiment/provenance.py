"""What ran: versions, source, machine, command line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import snnrl

SOURCE = ("snnrl", "configs", "pyproject.toml", "constraints.txt")

PACKAGES = (
    "torch",
    "numpy",
    "gymnasium",
    "mujoco",
    "ale-py",
    "opencv-python-headless",
    "MinAtar",
    "Box2D",
    "stable_baselines3",
    "hydra-core",
    "omegaconf",
    "wandb",
    "triton",
)


def collect(kernel: str, threads: int, seed: int) -> dict[str, Any]:
    """Facts about this process, for ``provenance.json``.

    :param kernel: what computes the network, after ``auto`` was decided
    :param threads: CPU threads of torch
    :param seed: seed of the run
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "kernel": kernel,
        "threads": threads,
        "versions": _versions(),
        "git": _git(),
        "hardware": _hardware(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "snnrl": snnrl.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any]:
    """Revision and uncommitted changes of the checkout; none for an installed package."""
    top = Path(snnrl.__file__).parent.parent

    def ask(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(top), *arguments], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout if answer.returncode == 0 else None

    if not (top / ".git").exists():
        return {"revision": None, "diff": None, "untracked": {}}
    revision = ask("rev-parse", "HEAD")
    return {
        "revision": revision.strip() if revision else None,
        "diff": ask("diff", "HEAD", "--", *SOURCE) or None,
        "untracked": {
            name: (top / name).read_text(errors="replace")
            for name in (
                ask("ls-files", "--others", "--exclude-standard", "--", *SOURCE) or ""
            ).split("\n")
            if name
        },
    }


def _hardware() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
