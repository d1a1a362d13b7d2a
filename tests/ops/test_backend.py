import shutil

import pytest

from snnrl.errors import UserError
from snnrl.ops.backend import COMPILE_PAYS_FROM_STEPS, resolve_kernel
from snnrl.ops.triton import requirements


@pytest.fixture
def machine(monkeypatch):
    """Say which programs this machine has."""

    monkeypatch.delenv("CC", raising=False)

    def has(*programs):
        monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
        requirements.has_c_compiler.cache_clear()

    yield has
    requirements.has_c_compiler.cache_clear()


@pytest.mark.parametrize(
    ("programs", "device", "expected"),
    [
        (("g++",), "cpu", "native"),
        (("clang++",), "cpu", "native"),
        ((), "cpu", "naive"),
        (("gcc",), "cuda", "triton"),
        (("clang",), "cuda:1", "triton"),
    ],
)
def test_auto_takes_the_fused_operators_of_the_device(machine, programs, device, expected):
    machine(*programs)
    assert resolve_kernel("auto", device) == expected
    assert resolve_kernel("auto", device, planned_steps=10**9) == expected


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (None, "naive"),
        (0, "naive"),
        (COMPILE_PAYS_FROM_STEPS - 1, "naive"),
        (COMPILE_PAYS_FROM_STEPS, "compile"),
    ],
)
def test_auto_compiles_other_neurons_from_a_planned_length(machine, device, planned, expected):
    machine("g++")
    assert resolve_kernel("auto", device, planned, has_fused=False) == expected


@pytest.mark.parametrize("kernel", ["naive", "compile", "native"])
def test_a_named_kernel_runs_whatever_the_plan(machine, kernel):
    machine("g++")
    assert resolve_kernel(kernel) == kernel
    assert resolve_kernel(kernel, planned_steps=1) == kernel
    assert resolve_kernel(kernel, planned_steps=10**9) == kernel


@pytest.mark.parametrize("kernel", ["compile", "native"])
def test_a_kernel_without_its_compiler_is_refused(machine, kernel):
    machine()
    assert resolve_kernel("naive") == "naive"
    with pytest.raises(UserError, match=rf"^kernel={kernel}: .*g\+\+.*kernel=naive$"):
        resolve_kernel(kernel)


def test_a_fused_kernel_on_another_device_is_refused(machine):
    machine("g++")
    with pytest.raises(UserError, match=r"^kernel=triton: needs a CUDA device; .*kernel=native"):
        resolve_kernel("triton", "cpu")
    with pytest.raises(UserError, match=r"^kernel=native: .*cuda:0.*kernel=triton$"):
        resolve_kernel("native", "cuda:0")


@pytest.mark.parametrize("kernel", ["auto", "triton"])
def test_triton_that_is_not_installed_is_told(machine, monkeypatch, kernel):
    machine("g++")
    monkeypatch.setattr(requirements, "HAS_TRITON", False)
    with pytest.raises(UserError, match=r"^kernel=triton: the package triton is not installed"):
        resolve_kernel(kernel, "cuda")


@pytest.mark.parametrize(("kernel", "device"), [("triton", "cuda"), ("native", "cpu")])
def test_a_fused_kernel_for_a_neuron_it_does_not_know_is_refused(kernel, device):
    with pytest.raises(UserError, match=rf"^kernel={kernel}: .*kernel=compile or naive$"):
        resolve_kernel(kernel, device, has_fused=False)


def test_an_unknown_kernel_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"^kernel=compiled: expected one of .*'compile'\?$"):
        resolve_kernel("compiled")
