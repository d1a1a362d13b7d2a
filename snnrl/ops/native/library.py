"""The C++ operators, compiled once by the machine's compiler and cached."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

from snnrl.errors import UserError
from snnrl.ops.dynamics import FUSED_NEURONS, FUSED_SURROGATES, OPERATORS
from snnrl.ops.native.cache import install, is_whole, private_folder

SOURCE = Path(__file__).with_name("operators.cpp")

STEPS = [OPERATORS / neuron / "step.hpp" for neuron in FUSED_NEURONS]

SURROGATES = OPERATORS / "surrogate" / "derivative.hpp"

SET_BLAS_THREADS = ("MKL_Set_Num_Threads_Local", "openblas_set_num_threads_local")

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


def sources() -> list[Path]:
    """Return every file that is compiled: machinery, steps of neurons, derivatives of
    surrogates."""
    return [SOURCE, *sorted(SOURCE.parent.glob("*.hpp")), *STEPS, SURROGATES]


def composition() -> list[str]:
    """Return the compiler's arguments that insert steps and derivatives into the machinery."""
    included = [argument for path in [*STEPS, SURROGATES] for argument in ("-include", str(path))]
    neurons = ",".join(f"{path.parent.name}::Neuron" for path in STEPS)
    surrogates = ",".join(f"surrogate::{name}" for name in FUSED_SURROGATES)
    return [*included, f"-DSNN_NEURONS={neurons}", f"-DSNN_SURROGATES={surrogates}"]


def compiler() -> str | None:
    """Return the C++ compiler of this machine, or ``None``."""
    return shutil.which("g++") or shutil.which("clang++")


@cache
def library() -> ctypes.CDLL:
    """Return the compiled operators, built (two to three seconds) if not in the cache.

    They are cached in :func:`snnrl.ops.native.cache.private_folder`, under a name derived from the
    sources, the compiler and the processor, and rebuilt if the cached file was changed.

    :raises UserError: no compiler, a compiler that fails, no room for the result, or no
        place for it that is this user's alone
    """
    path = compiler()
    if path is None:
        raise UserError(
            "kernel=native: needs a C++ compiler (g++ or clang++ on the PATH); "
            "install one or use kernel=naive"
        )
    name = f"operators-{_fingerprint(path)}.so"
    try:
        built = private_folder(name) / name
        if not is_whole(built):
            _build(path, built)
    except OSError as problem:
        raise UserError(
            f"kernel=native: {problem.filename or 'the folder of compiled operators'} cannot be "
            f"written ({problem.strerror}); set XDG_CACHE_HOME to a folder that can, or use "
            "kernel=naive"
        ) from problem
    try:
        operators = ctypes.CDLL(str(built))
    except OSError as problem:
        raise UserError(
            f"kernel=native: {built} cannot be loaded ({problem}); remove it, or use kernel=naive"
        ) from problem
    operators.snn_use_blas(*_blas())
    operators.snn_use_threads(torch.get_num_threads())
    return operators


def _blas() -> tuple[ctypes.c_void_p, ctypes.c_void_p | None]:
    """Return the addresses of torch's product of matrices, and of what sets the threads that BLAS
    has for the calling thread; ``None``: it has none of its own.

    :raises UserError: this build of torch has no product
    """
    try:
        # Symbols are looked for in the libraries that this one needs, too.
        found = ctypes.CDLL(torch._C.__file__)
        product = found.sgemm_
    except (AttributeError, OSError) as problem:
        raise UserError(
            f"kernel=native: torch {torch.__version__} has no BLAS that can be found ({problem}); "
            "expected a build of torch with MKL or OpenBLAS, or kernel=naive"
        ) from problem
    setters = (getattr(found, name, None) for name in SET_BLAS_THREADS)
    setter = next((each for each in setters if each is not None), None)
    address = None if setter is None else ctypes.cast(setter, ctypes.c_void_p)
    return ctypes.cast(product, ctypes.c_void_p), address


def _fingerprint(path: str) -> str:
    version = _run([path, "--version"])
    if version.returncode:
        raise UserError(
            f"kernel=native: {path} --version failed; expected a compiler of C++20, or use "
            "kernel=naive"
        )
    texts = [path.read_text() for path in sources()]
    names = [*FUSED_NEURONS, *FUSED_SURROGATES]
    facts = [*texts, *names, version.stdout, *FLAGS, platform.machine(), _processor()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _processor() -> str:
    """Return the processor's features as reported by the system: machines may share a home
    folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _build(path: str, built: Path) -> None:
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        compiled = Path(folder) / built.name
        done = _run([path, *FLAGS, *composition(), str(SOURCE), "-o", str(compiled)])
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no output"]
            first = next((line for line in said if "error" in line), said[0])
            raise UserError(
                f"kernel=native: {path} failed ({first}); expected a compiler of C++20, or use "
                "kernel=naive"
            )
        install(compiled, built)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except OSError as problem:  # Such as no memory for another process.
        raise UserError(
            f"kernel=native: {command[0]} cannot be run ({problem.strerror}); expected a compiler "
            "of C++20, or use kernel=naive"
        ) from problem
