"""The rooms of ``snnrl/agents``: each imports only from rooms below it."""

import shutil

import pytest

from tests.test_architecture import PACKAGE, imports_of

ROOMS = ["replay", "policies", "updates", "algorithms"]
"""From the ground up; the algorithms stand directly in ``snnrl/agents``."""


def room_of(parts):
    """Room of ``snnrl.agents.<parts>`` by its number."""
    return ROOMS.index(parts[0] if parts and parts[0] in ROOMS else "algorithms")


def violations(package):
    """Imports that do not point down: (file, module)."""
    agents = package / "agents"
    return {
        (str(path.relative_to(agents)), module)
        for path in agents.rglob("*.py")
        for module in imports_of(path, package)
        if module.startswith("snnrl.agents")
        and room_of(module.split(".")[2:]) > room_of(path.relative_to(agents).parts)
    }


def test_every_folder_is_a_room():
    folders = {path.parent.name for path in (PACKAGE / "agents").glob("*/__init__.py")}
    assert folders == set(ROOMS) - {"algorithms"}


def test_imports_only_point_down():
    assert violations(PACKAGE) == set()


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("policies/part.py", "snnrl.agents.base"),
        ("policies/part.py", "snnrl.agents.updates.targets"),
        ("replay/buffer.py", "snnrl.agents.policies.part"),
        ("updates/targets.py", "snnrl.agents"),
    ],
)
def test_an_import_that_does_not_is_found(tmp_path, file, module):
    copy = tmp_path / "snnrl"
    shutil.copytree(PACKAGE / "agents", copy / "agents")
    with (copy / "agents" / file).open("a") as rogue:
        rogue.write(f"\nimport {module}\n")
    assert violations(copy) == {(file, module)}
