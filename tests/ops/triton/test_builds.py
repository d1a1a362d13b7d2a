"""Kernels compile for GPUs: the interpreter takes what the compiler refuses."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import snnrl.ops.triton

pytestmark = pytest.mark.slow

SOURCES = Path(snnrl.ops.triton.__file__).parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(capability, kernel, fused multiply-additions) of all kernels, compiled afresh."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, "-m", f"{__package__}.build_kernels"],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
    return [line.split() for line in ran.stdout.splitlines()]


def kernels():
    """Every kernel in the package: a jitted function whose name says so."""
    for path in sorted(SOURCES.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.endswith("kernel"):
                assert [ast.unparse(d) for d in node.decorator_list] == ["triton.jit"]
                yield f"{path.stem}.{node.name}"


def test_every_kernel_compiles(built):
    for capability in ("80", "90"):
        names = {name for compiled_for, name, _ in built if compiled_for == capability}
        assert names == set(kernels())


def test_nothing_is_fused_into_other_roundings(built):
    assert [line for line in built if line[2] != "0"] == []
