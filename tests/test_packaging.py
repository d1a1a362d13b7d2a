"""What is installed, named and pinned agrees with itself, and the wheel carries what runs need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import snnrl

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
PINS = {
    canonicalize_name(requirement.name): requirement
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}
TORCH_ONLY = ("nvidia-", "cuda-", "triton")
RANGES = [
    Requirement(line)
    for lines in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for line in lines
    if Requirement(line).name != PROJECT["name"]
]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The paths inside a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_carries_every_config(wheel_names: set[str]) -> None:
    configs = {f"snnrl/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs
    assert configs <= wheel_names


def test_the_wheel_carries_every_module_and_the_type_marker(wheel_names: set[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "snnrl").rglob("*.py")}
    assert modules | {"snnrl/py.typed"} <= wheel_names


def test_the_wheel_carries_what_is_compiled_and_what_is_read(wheel_names: set[str]) -> None:
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "snnrl").rglob("*.[ch]pp")}
    assert "snnrl/ops/lif/step.hpp" in sources
    assert sources | {"snnrl/analysis/published.csv"} <= wheel_names


def test_the_wheel_carries_nothing_beside_the_package(wheel_names: set[str]) -> None:
    folders = {name.split("/")[0] for name in wheel_names}
    # Hydra looks for launchers in hydra_plugins only.
    assert folders == {"snnrl", "hydra_plugins", f"snnrl-{snnrl.__version__}.dist-info"}
    plugins = {name for name in wheel_names if name.startswith("hydra_plugins")}
    assert plugins == {"hydra_plugins/snnrl_launchers.py"}


@pytest.mark.parametrize("file", ["Dockerfile", ".ci/run"])
def test_every_make_target_named_exists(file: str) -> None:
    commands = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    named = set(re.findall(r'\bmake"?,? +"?([a-z][a-z-]*)', "\n".join(commands)))
    assert named
    assert named <= TARGETS


def test_help_lists_every_target() -> None:
    listing = subprocess.run(
        ["make", "--silent", "--no-print-directory", "help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert set(re.findall(r"^make ([a-z-]+) +\S", listing, flags=re.MULTILINE)) == TARGETS


def test_a_python_out_of_range_is_one_line_and_makes_nothing(tmp_path: Path) -> None:
    for name in ["Makefile", "pyproject.toml", "constraints.txt"]:
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        ["make", "setup", "PYTHON=no-such-python"], cwd=tmp_path, capture_output=True, text=True
    )
    errors = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2
    assert len(errors) == 1
    assert errors[0].startswith("error: PYTHON=no-such-python")
    assert PROJECT["requires-python"] in errors[0]
    assert not (tmp_path / ".venv").exists()


def test_a_missing_system_package_is_told_in_one_line(tmp_path: Path) -> None:
    # A PATH without apt-get: the test must never install.
    for tool in ["uname", "ldconfig", "grep", "id"]:
        found = shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert found
        (tmp_path / tool).symlink_to(found)
    done = subprocess.run(
        ["/bin/sh", ROOT / "scripts/system_packages.sh"],
        env={"PATH": str(tmp_path), "CXX": "no-such-compiler", "PYTHON": sys.executable},
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = done.stderr.splitlines()
    assert "compiled kernels" in line
    assert re.search(r"apt-get install .*\bg\+\+", line)


def test_citation_names_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == snnrl.__version__


def test_changelog_starts_with_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == snnrl.__version__


# Triton's pin is each CUDA build's own.
@pytest.mark.parametrize(
    "requirement", [r for r in RANGES if not r.name.startswith(TORCH_ONLY)], ids=str
)
def test_the_pin_lies_in_the_range(requirement: Requirement) -> None:
    (pin,) = PINS[canonicalize_name(requirement.name)].specifier
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the pins are Python 3.11's")
def test_the_pins_are_what_the_project_installs_and_no_more() -> None:
    installed: dict[str, set[str]] = {}
    waiting = list(RANGES)
    while waiting:
        requirement = waiting.pop()
        extras = installed.setdefault(canonicalize_name(requirement.name), set())
        if {"", *requirement.extras} <= extras:
            continue
        extras |= {"", *requirement.extras}
        waiting += [
            wanted
            for wanted in map(Requirement, distribution(requirement.name).requires or [])
            if wanted.marker is None
            or any(wanted.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    pinned_by_torch = {name for name in installed if name.startswith(TORCH_ONLY)}
    assert installed.keys() - pinned_by_torch == PINS.keys()


def test_pins_carry_no_build_and_nothing_that_torch_pins() -> None:
    assert not [str(pin) for pin in PINS.values() if "+" in str(pin.specifier)]
    assert not [name for name in PINS if name.startswith(TORCH_ONLY)]
