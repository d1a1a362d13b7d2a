"""The script that checks the kernels on a GPU, here on the operators' CPU implementations."""

import importlib.util
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from snnrl.ops.dynamics import FUSED_SURROGATES
from snnrl.ops.triton import register

from .reference import register_for_a_cpu

register_for_a_cpu()

SCRIPT = Path(__file__).parents[3] / "scripts" / "bench" / "check_kernels.py"
CPU = torch.device("cpu")
SMALL = ((5, 6, 7), (1, 6, 7), (40, 2, 3))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("check_kernels", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ODD = (3, 5, 7)
    return module


def operators(**replaced):
    names = ("neuron", "normalised_neuron", "encode", "encode_fields", "decode", "move_statistics")
    return SimpleNamespace(**{name: getattr(register, name) for name in names} | replaced)


def test_correct_operators_pass(script, capsys):
    assert script.check(script.cases(CPU, operators(), SMALL)) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    surrogates = len(FUSED_SURROGATES)
    assert len(lines) == 3 + 2 * (3 * (3 * 5 + 3) + 3 * (2 * surrogates + 2))
    assert not any("MISMATCH" in line for line in lines)


def test_parts_are_all_cases_between_them(script):
    names = [(case.name, case.shape, case.dtype) for case in script.cases(CPU, operators(), SMALL)]
    found = []
    for part in (1, 2, 3):
        of_part = islice(script.cases(CPU, operators(), SMALL), part - 1, None, 3)
        found += [(case.name, case.shape, case.dtype) for case in of_part]
    assert sorted(found, key=str) == sorted(names, key=str)
    assert [script._part(["2/6"]), script._part([])] == [(2, 6), (1, 1)]


@pytest.mark.parametrize("wrong", ["0/6", "7/6", "a/6", "3", "1/0", ""])
def test_a_part_that_is_none_is_refused(script, wrong, capsys):
    assert script.main([wrong]) == 2
    assert "for example 2/6" in capsys.readouterr().err


def late(x, dynamics):
    return register.neuron(x, dynamics._replace(threshold=0.6))


def other_gradient(x, dynamics):
    return register.neuron(x, dynamics._replace(detach_reset=not dynamics.detach_reset))


def not_a_number(*arguments):
    spikes, mean, var, counts = register.normalised_neuron(*arguments)
    return spikes, mean, var * float("nan"), counts


def different_each_time(*arguments):
    spikes, mean, var, counts = register.normalised_neuron(*arguments)
    return spikes, mean, var * (1 + torch.rand(()) * 1e-5), counts


def statistics_that_stay(layers, rule):
    pass


def one_spike_too_many(*arguments):
    spikes, mean, var, counts = register.normalised_neuron(*arguments)
    return spikes, mean, var, counts + 1


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "wrong",
    [
        {"neuron": late},
        {"neuron": other_gradient},
        {"normalised_neuron": not_a_number},
        {"encode": lambda drive, time_steps, _: register.encode(drive, time_steps, 0.9)},
        {"encode_fields": lambda *of: register.encode_fields(*of[:-1], 0.9)},
        {"decode": lambda *of: register.decode(*of[:-1], of[-1] + 1)},
        {"normalised_neuron": different_each_time},
        {"normalised_neuron": one_spike_too_many},
        {"move_statistics": statistics_that_stay},
    ],
    ids=[
        "threshold",
        "gradient",
        "nan",
        "encoder",
        "fields",
        "decoder",
        "repeat",
        "counts",
        "statistics",
    ],
)
def test_a_wrong_operator_is_found(script, capsys, wrong):
    assert script.check(script.cases(CPU, operators(**wrong), SMALL[:1])) > 0
    assert "MISMATCH" in capsys.readouterr().out


def test_without_a_gpu_it_says_what_it_needs(script, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main() == 2
    assert capsys.readouterr().err.startswith("error: kernel=triton: needs a CUDA device;")
