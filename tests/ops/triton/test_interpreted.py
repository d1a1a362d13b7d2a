"""Triton's kernels without a GPU: in its interpreter, which must be chosen before it is imported.

Each group is a pytest run in a process of its own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "interpreted"
GROUPS = ["coding", "confidence", "neuron", "normalised", "population", "register"]


@pytest.mark.parametrize(
    "group", ["coding", *(pytest.param(g, marks=pytest.mark.slow) for g in GROUPS if g != "coding")]
)
def test_kernels_agree_with_the_naive_operators(group):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="]
    ran = subprocess.run(
        [*command, str(FOLDER / f"check_{group}.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert re.search(r"\d+ passed(, \d+ warnings?)? in ", ran.stdout), ran.stdout[-500:]


def test_every_group_runs():
    assert sorted(path.stem for path in FOLDER.glob("check_*.py")) == [
        f"check_{group}" for group in GROUPS
    ]
