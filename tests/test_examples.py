"""The projects in ``docs/examples`` do what their pages say, from a folder outside the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
EXAMPLES = sorted((TOP / "docs" / "examples").iterdir())


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path, tmp_path: Path) -> None:
    place = tmp_path / example.name
    shutil.copytree(example, place, ignore=shutil.ignore_patterns("__pycache__", "results"))
    lines = commands(place / "README.md")
    assert len(lines) >= 3
    short = "total_steps=600 evaluation.every=300 evaluation.episodes=1"
    for line in lines:
        command = f"{line} {short}" if "snnrl.train" in line else line
        ran = subprocess.run(
            ["bash", "-c", command.replace("python", sys.executable, 1)],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"


def test_there_is_an_example() -> None:
    assert "own_neuron" in [path.name for path in EXAMPLES]
