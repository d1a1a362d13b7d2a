"""A neuron with fused kernels is one folder, a surrogate one function for each language."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snnrl.ops import native
from snnrl.ops.dynamics import CONSTANTS, FUSED_NEURONS, FUSED_SURROGATES, OPERATORS, STEP_FILES

from .triton.helpers import make_dynamics

ROOT = OPERATORS.parent.parent


def test_a_step_for_one_language_is_there_for_all():
    folders = {path.parent.name for name in STEP_FILES for path in OPERATORS.glob(f"*/{name}")}
    assert folders == set(FUSED_NEURONS) >= {"lif", "clif", "dynamic"}


def test_a_derivative_for_one_language_is_there_for_all():
    # One that C++ lacks does not compile.
    tree = ast.parse((OPERATORS / "surrogate" / "triton_derivative.py").read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert names == set(FUSED_SURROGATES)


def test_the_machinery_names_no_neuron_and_no_surrogate():
    for folder in ("native", "triton"):
        for path in (OPERATORS / folder).glob("*.*"):
            code = path.read_text()
            if path.suffix == ".py":
                strings = [
                    node.value
                    for node in ast.walk(ast.parse(code))
                    if isinstance(node, ast.Constant) and isinstance(node.value, str)
                ]
                assert not {*FUSED_NEURONS, *FUSED_SURROGATES} & set(strings), path
            else:
                for name in FUSED_NEURONS:
                    assert f"{name}::" not in code, path


@pytest.mark.parametrize("neuron", FUSED_NEURONS)
@pytest.mark.parametrize("change", [-1, 1])
def test_constants_of_another_number_are_refused(neuron, change):
    dynamics = make_dynamics(neuron)
    constants = (*dynamics.constants, 0.5)[: len(dynamics.constants) + change]
    assert type(dynamics.constants) is CONSTANTS[neuron]
    with pytest.raises(TypeError, match=r"number of constants differs from that in step\.hpp"):
        native.neuron(torch.zeros(2, 3), dynamics._replace(constants=constants))


NAIVE = '''
from typing import NamedTuple

import torch

from snnrl.ops.surrogate import spike


class IntegratorConstants(NamedTuple):
    """Nothing."""


class IntegratorState(NamedTuple):
    membrane: torch.Tensor
    spikes: torch.Tensor


def integrator(x, state, constants: IntegratorConstants, threshold, surrogate, detach_reset):
    """``v[t] = v[t-1] - s[t-1] + x[t]``: no leak, a soft reset by 1."""
    rest = torch.zeros_like(x[0])
    v, s = state or (rest, rest)
    spikes = []
    for current in x.unbind(0):
        v = v - (s.detach() if detach_reset else s) + current
        s = spike(v, threshold, surrogate)
        spikes.append(s)
    return torch.stack(spikes), IntegratorState(v, s)
'''

STEP = """
#pragma once
namespace integrator {
struct Neuron {
  struct Constants {};
  static constexpr int STATES = 1;
  static void step(float (&state)[STATES], float s, float x, const Constants&) {
    state[0] = state[0] - s + x;
  }
  template <class Spike>
  static float step_back(float (&adjoint)[STATES], float, float, const Spike& through_spike,
                         const Constants&) {
    adjoint[0] = through_spike(-adjoint[0]) + adjoint[0];
    return adjoint[0];
  }
};
}  // namespace integrator
"""

TRITON_STEP = """
import triton
import triton.language as tl

from snnrl.ops.triton.spike import through_spike

STATES = 1


@triton.jit
def step(x, state, s, c: tl.constexpr):
    v = state[0] - s + x
    return (v,)


@triton.jit
def step_back(spike, v, s, adjoint, c: tl.constexpr):
    lv = adjoint[0] + through_spike(spike, -adjoint[0])
    return (lv,), lv
"""

TRIAL = """
import torch

from snnrl.ops import native
from snnrl.ops.dynamics import Dynamics, FUSED_NEURONS, run
from snnrl.ops.integrator import IntegratorConstants
from snnrl.ops.surrogate import Surrogate
from snnrl.ops.triton import neurons
from snnrl.ops.triton.program import program

assert FUSED_NEURONS == ("clif", "dynamic", "integrator", "lif")
torch.manual_seed(0)
x, g = torch.randn(6, 3, 70) * 0.6 + 0.2, torch.randn(6, 3, 70)
for detach_reset in (False, True):
    d = Dynamics(
        "integrator", 0.5, Surrogate("triangle", 0.7), detach_reset, IntegratorConstants()
    )
    results = []
    for operator in (lambda x: run(x, d)[0], lambda x: native.neuron(x, d)):
        leaf = x.clone().requires_grad_()
        spikes = operator(leaf)
        spikes.backward(g)
        results.append((spikes.detach(), leaf.grad))
    operands = torch.tensor(0.5), torch.tensor(0.7)
    made = program("integrator", "triangle", detach_reset, ())
    spikes, _ = neurons.neuron_forward(x, False, operands, made)
    results.append((spikes, neurons.neuron_backward(g, None, x, operands, made)))
    assert 0.1 < results[0][0].mean() < 0.9
    for own_spikes, own_gradient in results[1:]:
        assert torch.equal(own_spikes, results[0][0])
        torch.testing.assert_close(own_gradient, results[0][1], rtol=1e-5, atol=1e-5)
print("as the naive operator")
"""


@pytest.mark.slow
def test_a_new_neuron_is_one_folder(tmp_path: Path) -> None:
    """Nothing else is edited: a copy of the package gets a neuron without constants."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "snnrl", tmp_path / "snnrl", ignore=ignored)
    folder = tmp_path / "snnrl" / "ops" / "integrator"
    folder.mkdir()
    exports = "from snnrl.ops.integrator.naive import IntegratorConstants, integrator\n"
    for name, text in {
        "__init__.py": exports,
        "naive.py": NAIVE,
        "step.hpp": STEP,
        "triton_step.py": TRITON_STEP,
    }.items():
        (folder / name).write_text(text)
    ran = subprocess.run(
        [sys.executable, "-c", TRIAL],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "TRITON_INTERPRET": "1",
            "XDG_CACHE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout == "as the naive operator\n"
