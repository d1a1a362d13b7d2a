"""Provenance of a run: versions, source, machine, command line."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import snnrl
from snnrl.experiment.reproduction.own_code import Code
from snnrl.experiment.reproduction.source import in_words, record_source, same_source
from snnrl.run_format.provenance import PLUGINS, SOURCES, own_sources

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


LONGEST_DIGEST = 12
"""Characters of a digest that are shown."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VERSION = re.compile(r"[0-9][A-Za-z0-9.+-]{0,63}")


def installable(versions: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions that the user can be told to install with pip: names and versions only,
    no options and nothing that a shell would run.

    :param versions: versions of a record, which may hold anything
    """
    return {
        name: version
        for name, version in versions.items()
        if name not in ("python", "snnrl") and NAME.fullmatch(name)
        if isinstance(version, str) and VERSION.fullmatch(version)
    }


def collect(
    kernel: str,
    threads: int,
    seed: int,
    code: Code | None = None,
    deterministic: bool = False,
) -> dict[str, Any]:
    """Return facts about this process for ``provenance.json``.

    :param kernel: kernel of the network, after ``auto`` was resolved
    :param threads: CPU threads
    :param seed: seed of the run
    :param code: its own modules; ``None``: it has none
    :param deterministic: whether torch uses only repeatable kernels on CUDA
    """
    code = Code({}, {}, {}) if code is None else code
    return {
        **({PLUGINS: code.plugins} if code.plugins else {}),
        SOURCES: code.further,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "kernel": kernel,
        "threads": threads,
        "deterministic": deterministic,
        "versions": {**_versions(), **code.versions},
        "git": record_source(),
        "hardware": _hardware(),
    }


@dataclass(frozen=True)
class Difference:
    """Difference between the record of a run and the present.

    :param what: name of the fact
    :param then: its value in the record
    :param now: its value now
    """

    what: str
    then: str
    now: str


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """Return the differences between two records of :func:`collect`, ``now`` being of this
    checkout.

    Packages that the run did not have do not count, nor do facts that an earlier version did not
    record.

    :raises TypeError, AttributeError, KeyError: ``then`` is not a record
    """
    code = then.get("git") or {}
    if not same_source(code, now["git"]):
        yield Difference("code", in_words(code), in_words(now["git"]))
    for group, absent in (("versions", "not installed"), ("hardware", "none")):
        for name, value in (then.get(group) or {}).items():
            present = now[group].get(name)
            if value != present:
                yield Difference(name, str(value or absent), str(present or absent))
    there, here = own_sources(then), own_sources(now)
    for name in {**there, **here}:
        if there.get(name) != here.get(name):
            absent = "none" if SOURCES in then else "not recorded"
            yield Difference(
                f"source of {name}",
                str(there.get(name, absent))[:LONGEST_DIGEST],
                str(here.get(name, "none"))[:LONGEST_DIGEST],
            )
    # The native kernel computes the same bits with any number of threads.
    rounding = ("kernel",) if then.get("kernel") == "native" else ("kernel", "threads")
    for name in rounding:
        if name in then and then[name] != now[name]:
            yield Difference(name, str(then[name]), str(now[name]))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "snnrl": snnrl.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _hardware() -> dict[str, Any]:
    # Takes seconds, which errors of a command line need not wait for.
    import torch

    return {
        "system": " ".join((platform.system(), platform.machine(), *platform.libc_ver())),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
