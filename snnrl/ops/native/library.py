"""The C++ operators, compiled once by the machine's compiler and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from snnrl.errors import UserError

SOURCE = Path(__file__).with_name("operators.cpp")

# Contracted multiply-adds would round differently from the naive operators.
FLAGS = (
    "-std=c++20",
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
)


def compiler() -> str | None:
    """The C++ compiler of this machine, or ``None``."""
    return shutil.which("g++") or shutil.which("clang++")


@cache
def library() -> ctypes.CDLL:
    """The compiled operators, built (two to three seconds) if nobody has yet.

    They are kept in ``$XDG_CACHE_HOME/snnrl`` (``~/.cache/snnrl``), under a name made of the
    source, the compiler and the processor.

    :raises UserError: no compiler, a compiler that fails, or no room for the result
    """
    path = compiler()
    if path is None:
        raise UserError(
            "kernel=native: needs a C++ compiler (g++ or clang++ on the PATH); "
            "install one or use kernel=naive"
        )
    built = _cache() / f"operators-{_fingerprint(path)}.so"
    if not built.exists():
        _build(path, built)
    try:
        return ctypes.CDLL(str(built))
    except OSError:
        # Half a file, of a machine that went down: made anew, once.
        _build(path, built)
    try:
        return ctypes.CDLL(str(built))
    except OSError as problem:
        raise UserError(
            f"kernel=native: {built} cannot be loaded ({problem}); remove it, or use kernel=naive"
        ) from problem


def _cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snnrl"
    except RuntimeError as problem:
        raise UserError(
            "kernel=native: there is no home to keep the compiled operators in; set "
            "XDG_CACHE_HOME to a folder, or use kernel=naive"
        ) from problem


def _fingerprint(path: str) -> str:
    version = subprocess.run([path, "--version"], capture_output=True, text=True)
    if version.returncode:
        raise UserError(
            f"kernel=native: {path} --version failed; expected a compiler of C++20, or use "
            "kernel=naive"
        )
    facts = [SOURCE.read_text(), version.stdout, *FLAGS, platform.machine(), _processor()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _processor() -> str:
    """What the processor can do, as far as the system tells: a home may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _build(path: str, built: Path) -> None:
    try:
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            half = Path(folder) / built.name
            done = subprocess.run(
                [path, *FLAGS, str(SOURCE), "-o", str(half)], capture_output=True, text=True
            )
            if done.returncode:
                said = done.stderr.strip().splitlines() or ["it said nothing"]
                first = next((line for line in said if "error" in line), said[0])
                raise UserError(
                    f"kernel=native: {path} failed ({first}); expected a compiler of C++20, or use "
                    "kernel=naive"
                )
            # Renaming is atomic: runs that start side by side never load half a file.
            half.replace(built)
    except OSError as problem:
        raise UserError(
            f"kernel=native: {built.parent} cannot be written ({problem.strerror}); set "
            "XDG_CACHE_HOME to a folder that can, or use kernel=naive"
        ) from problem
