"""Where the kernels cannot run, one line says so; the package works without Triton."""

import pkgutil
import shutil
import subprocess
import sys

import pytest
import torch

from snnrl.errors import UserError
from snnrl.ops import triton
from snnrl.ops.dynamics import FusedLayer
from snnrl.ops.triton import requirements

from .helpers import EPS, make_dynamics

NEEDS_CUDA = "kernel=triton: needs a CUDA device; expected kernel=native, compile or naive on a CPU"
X, VECTOR = torch.zeros(2, 3, 4), torch.ones(4)
LIF = make_dynamics("lif")


def test_no_module_takes_the_name_of_a_function():
    """Importing a module puts it into its package under its name."""
    modules = {module.name for module in pkgutil.iter_modules(triton.__path__)}
    assert "neurons" in modules and modules.isdisjoint(triton.__all__)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("neuron", (X, LIF)),
        ("normalised_neuron", (X, FusedLayer(None, VECTOR, VECTOR, EPS, LIF))),
        ("encode", (X[0], 5, 0.999)),
        ("counts", (X,)),
        ("spike_linear", (X, torch.zeros(5, 4), None)),
    ],
)
def test_a_cpu_is_refused(function, arguments):
    with pytest.raises(UserError) as refused:
        getattr(triton, function)(*arguments)
    assert str(refused.value) == NEEDS_CUDA


def test_a_machine_without_triton_is_refused(monkeypatch):
    monkeypatch.setattr(requirements, "has_c_compiler", lambda: True)
    requirements.check_device(torch.device("cuda"))
    monkeypatch.setattr(requirements, "HAS_TRITON", False)
    with pytest.raises(UserError, match=r"^kernel=triton: the package triton is not installed"):
        requirements.check_device(torch.device("cuda"))


@pytest.mark.parametrize("found", ["gcc", "clang", "CC", None])
def test_a_machine_without_a_c_compiler_is_refused(found, monkeypatch):
    """Triton builds its launcher when the first kernel runs."""
    monkeypatch.setattr(shutil, "which", lambda name: name if name == found else None)
    monkeypatch.delenv("CC", raising=False)
    if found == "CC":
        monkeypatch.setenv("CC", "tcc")
    requirements.has_c_compiler.cache_clear()
    try:
        if found is None:
            with pytest.raises(UserError, match=r"^kernel=triton: needs a C compiler"):
                requirements.check_device(torch.device("cuda"))
        else:
            requirements.check_device(torch.device("cuda"))
    finally:
        requirements.has_c_compiler.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_what_float32_cannot_hold_is_refused(monkeypatch, dtype):
    monkeypatch.setattr(requirements, "check_device", lambda device: None)
    requirements.check_input(X)
    requirements.check_input(X.bfloat16())
    with pytest.raises(UserError, match=rf"^kernel=triton: .*{dtype}; expected float32"):
        requirements.check_input(X.to(dtype))


def test_the_operators_are_defined_without_triton():
    script = """
import sys
sys.modules["triton"] = None
import torch
from snnrl.ops.triton import register, requirements
assert not requirements.HAS_TRITON
print(torch.ops.snnrl.triton_neuron.default._schema.name)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "snnrl::triton_neuron\n"
