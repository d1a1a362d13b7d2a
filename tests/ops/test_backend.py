import shutil

import pytest

from snnrl.errors import UserError
from snnrl.ops.backend import COMPILE_PAYS_FROM_STEPS, resolve_kernel


@pytest.fixture
def machine(monkeypatch):
    """Say which programs this machine has."""

    def has(*programs):
        monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)

    return has


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (None, "naive"),
        (0, "naive"),
        (COMPILE_PAYS_FROM_STEPS - 1, "naive"),
        (COMPILE_PAYS_FROM_STEPS, "compile"),
    ],
)
def test_auto_compiles_from_a_planned_length(machine, planned, expected):
    machine("g++")
    assert resolve_kernel("auto", planned) == expected


@pytest.mark.parametrize(
    ("programs", "expected"),
    [((), "naive"), (("g++",), "compile"), (("clang++",), "compile")],
)
def test_auto_compiles_where_it_can(machine, programs, expected):
    machine(*programs)
    assert resolve_kernel("auto", 10**6) == expected


@pytest.mark.parametrize("kernel", ["naive", "compile"])
def test_a_named_kernel_runs_whatever_the_plan(machine, kernel):
    machine("g++")
    assert resolve_kernel(kernel) == kernel
    assert resolve_kernel(kernel, 1) == kernel
    assert resolve_kernel(kernel, 10**9) == kernel


def test_a_kernel_that_cannot_run_is_refused(machine):
    machine()
    assert resolve_kernel("naive") == "naive"
    with pytest.raises(UserError, match=r"^kernel=compile: .*g\+\+.*kernel=naive$"):
        resolve_kernel("compile")


def test_an_unknown_kernel_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"^kernel=compiled: expected one of .*'compile'\?$"):
        resolve_kernel("compiled")
