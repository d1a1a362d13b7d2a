"""Each floor of the package imports only from the floors below it."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import snnrl

PACKAGE = Path(snnrl.__file__).parent

# From the ground up. Modules directly in the package are commands, except these.
FLOORS = ["ground", "ops", "nn", "envs", "agents", "analysis", "experiment", "commands"]
GROUND = ("errors", "memory", "output", "seeds", "starting", "text", "__init__")
NO_REINFORCEMENT_LEARNING = ("ground", "ops", "nn")
FOREIGN = ("stable_baselines3", "gymnasium", "ale_py", "minatar", "hydra", "omegaconf", "wandb")


def floor_of(module: str, package: Path) -> int:
    """Floor of ``snnrl.a.b`` by its number; the package itself is on the ground."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in GROUND:
        return 0
    if (package / parts[1]).is_dir():
        return FLOORS.index(parts[1])
    return FLOORS.index("commands")


def imports_of(path: Path, package: Path) -> Iterator[str]:
    """Full names of the modules that ``path`` imports, wherever in the file."""
    inside = ["snnrl", *path.relative_to(package).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # ``from snnrl import nn`` imports the floor, not the package.
            yield from (
                f"{module}.{alias.name}" if module == "snnrl" else module for alias in node.names
            )


def violations(package: Path) -> set[tuple[str, str]]:
    """Imports that do not point down: (file, module)."""
    found = set()
    for path in package.rglob("*.py"):
        name = path.relative_to(package)
        own = floor_of(".".join(["snnrl", *name.with_suffix("").parts]), package)
        for module in imports_of(path, package):
            top = module.split(".")[0]
            if top in FOREIGN and FLOORS[own] in NO_REINFORCEMENT_LEARNING:
                found.add((str(name), module))
            elif top == "snnrl":
                upward = floor_of(module, package) > own
                beside = own == FLOORS.index("commands") == floor_of(module, package)
                if upward or beside:
                    found.add((str(name), module))
    return found


def test_every_folder_of_the_package_is_a_floor():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {"ops", "nn", "agents"} <= folders <= set(FLOORS)


def test_imports_only_point_down():
    assert violations(PACKAGE) == set()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("file", "line", "module"),
    [
        ("nn/neurons.py", "import gymnasium as gym", "gymnasium"),
        (
            "ops/backend.py",
            "from stable_baselines3.common import utils",
            "stable_baselines3.common",
        ),
        ("nn/norm/ema.py", "import wandb.sdk", "wandb.sdk"),
        ("ops/lif/naive.py", "from snnrl.nn.eager import eager", "snnrl.nn.eager"),
        ("ops/lif/naive.py", "from snnrl import nn", "snnrl.nn"),
        ("ops/lif/naive.py", "from ...nn import eager", "snnrl.nn"),
        ("nn/encoders/direct.py", "def late():\n    import snnrl.agents", "snnrl.agents"),
        ("nn/convolution.py", "import ale_py", "ale_py"),
        ("agents/td3.py", "from snnrl.compare import main", "snnrl.compare"),
        ("envs/make.py", "from snnrl.agents import DQN", "snnrl.agents"),
        (
            "agents/base.py",
            "from snnrl.experiment.config import resolve",
            "snnrl.experiment.config",
        ),
        ("errors.py", "from snnrl.ops import backend", "snnrl.ops"),
        ("compare.py", "from snnrl.train import main", "snnrl.train"),
    ],
)
def test_an_import_that_does_not_is_found(tmp_path, file, line, module):
    copy = tmp_path / "snnrl"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert violations(copy) == set()
    with (copy / file).open("a") as rogue:
        rogue.write(f"\n{line}\n")
    assert violations(copy) == {(file, module)}
