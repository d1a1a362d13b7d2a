"""Each floor of the package imports only from the floors below it, and no import leads back."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

import snnrl
from snnrl.run_format import names

PACKAGE = Path(snnrl.__file__).parent

# From the ground up. Modules directly in the package are commands, except these.
FLOORS = [
    *("ground", "ops", "nn", "envs", "data", "run_format", "analysis", "agents"),
    *("deploy", "experiment", "commands"),
]
GROUND = (
    *("earlier_names", "errors", "imports", "memory", "output", "parameters", "seeds"),
    *("starting", "text", "__init__"),
)
# Rooms of the floor, from the ground up.
EXPERIMENT = ("config", "folder", "reproduction", "checkpoint", "tracking", "sweep")
NO_REINFORCEMENT_LEARNING = ("ground", "ops", "nn")
# Floors that need neither torch's floors nor the agents: of those below, only these.
READS_FILES = {"run_format": ("ground",), "analysis": ("ground", "run_format")}
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
                floor = floor_of(module, package)
                beside = own == FLOORS.index("commands") == floor
                allowed = READS_FILES.get(FLOORS[own], FLOORS)
                aside = floor != own and FLOORS[floor] not in allowed
                if floor > own or beside or aside:
                    found.add((str(name), module))
    return found


Graph = Mapping[str, Collection[str]]
"""Modules, or rooms, and what each imports."""


def module_graph(package: Path) -> Graph:
    """The modules of the package that each imports, wherever in the file and whatever for."""
    files = {module_of(path, package): path for path in package.rglob("*.py")}
    return {
        name: {module for module in _imported(path, package, files) if module != name}
        for name, path in files.items()
    }


def module_of(path: Path, package: Path) -> str:
    parts = ["snnrl", *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, package: Path, known: Collection[str]) -> Iterator[str]:
    inside = ["snnrl", *path.relative_to(package).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # A name of a package may be a module in it.
            names = [f"{module}.{alias.name}" for alias in node.names]
            found = [name if name in known else module for name in names]
            yield from (name for name in found if name in known)


def room_graph(graph: Graph) -> Graph:
    """The same for rooms: folders below a floor. A module of no room stands for itself."""

    def room(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[:3]) if len(parts) > 3 else module

    rooms: dict[str, set[str]] = {}
    for module, imported in graph.items():
        rooms.setdefault(room(module), set()).update(map(room, imported))
    return {name: imported - {name} for name, imported in rooms.items()}


def circle(graph: Graph) -> list[str]:
    """One way back to where it started; empty where there is none."""
    cleared: set[str] = set()

    def walk(way: list[str]) -> list[str]:
        for name in sorted(graph[way[-1]]):
            if name in way:
                return [*way[way.index(name) :], name]
            if name not in cleared and (found := walk([*way, name])):
                return found
        cleared.add(way[-1])
        return []

    return next((found for name in graph if (found := walk([name]))), [])


def test_every_folder_of_the_package_is_a_floor():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {"ops", "nn", "agents"} <= folders <= set(FLOORS)


def test_imports_only_point_down():
    assert violations(PACKAGE) == set()


def test_no_import_leads_back():
    assert circle(module_graph(PACKAGE)) == []
    assert circle(room_graph(module_graph(PACKAGE))) == []


@pytest.mark.parametrize(
    ("lines", "way"),
    [
        ({"a/one": "from snnrl.a.two import x", "a/two": "import snnrl.a.one"}, ["one", "two"]),
        ({"a/one": "from snnrl.a import two", "a/two": "from . import one"}, ["one", "two"]),
        (
            {
                "a/one": "from snnrl.a.two import x",
                "a/two": "def late():\n    from snnrl.a.three import x",
                "a/three": "if TYPE_CHECKING:\n    from .one import x",
            },
            ["one", "two", "three"],
        ),
        (
            {"a/one": "from snnrl.a import x", "a/__init__": "from snnrl.a.one import x"},
            ["a", "one"],
        ),
        ({"a/one": "from snnrl.a.two import x", "a/two": "from snnrl import a"}, []),
    ],
)
def test_a_circle_is_found(tmp_path, lines, way):
    for name, text in {"__init__": "", "a/__init__": "", **lines}.items():
        file = (tmp_path / "snnrl" / name).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = circle(module_graph(tmp_path / "snnrl"))
    assert {name.rpartition(".")[2] for name in found} == set(way)


def test_a_circle_of_rooms_is_found():
    graph = {"f.a.x.one": ["f.a.y.one"], "f.a.y.one": [], "f.a.y.two": ["f.a.z"], "f.a.z": []}
    assert circle(room_graph(graph)) == []
    graph["f.a.z"] = ["f.a.x.two"]
    graph["f.a.x.two"] = []
    assert circle(graph) == []
    assert circle(room_graph(graph)) == ["f.a.x", "f.a.y", "f.a.z", "f.a.x"]


def test_rooms_of_the_experiment():
    """A room imports from the ones before it, and from modules that are in none."""
    folders = {path.parent.name for path in PACKAGE.glob("experiment/*/__init__.py")}
    assert folders == set(EXPERIMENT)
    graph = room_graph(module_graph(PACKAGE))
    for number, room in enumerate(EXPERIMENT):
        later = {f"snnrl.experiment.{name}" for name in EXPERIMENT[number:]}
        assert not later & set(graph[f"snnrl.experiment.{room}"]), room


def test_names_in_a_run_folder_are_written_once():
    """Who reads or writes a file of a run takes its name from ``run_format``."""
    known = {value for value in vars(names).values() if isinstance(value, str) and is_file(value)}
    assert {"config.yaml", "evaluations.csv", "DONE", ".lock", "model.zip"} <= known
    found = [
        (str(path.relative_to(PACKAGE)), node.value)
        for path in PACKAGE.rglob("*.py")
        if path.name != "names.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in known
    ]
    assert found == []


def is_file(name: str) -> bool:
    return "/" not in name and ("." in name or name.isupper())


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
        ("agents/td3.py", "from snnrl.deploy.cost import cost_of", "snnrl.deploy.cost"),
        ("envs/make.py", "from snnrl.agents import DQN", "snnrl.agents"),
        (
            "agents/base.py",
            "from snnrl.experiment.config.compose import resolve",
            "snnrl.experiment.config.compose",
        ),
        ("errors.py", "from snnrl.ops import backend", "snnrl.ops"),
        ("run_format/done.py", "from snnrl.analysis.runs import Run", "snnrl.analysis.runs"),
        ("run_format/done.py", "from snnrl.envs import make_env", "snnrl.envs"),
        ("analysis/runs.py", "from snnrl.nn.norm import Norm", "snnrl.nn.norm"),
        (
            "analysis/runs.py",
            "from snnrl.experiment.config.label import label",
            "snnrl.experiment.config.label",
        ),
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
