"""The repository that the clones of these tests are made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.evidence.place import TOP
from tests.evidence.helpers import TAG, git

CODE = ("snnrl", "configs", "scripts", "hydra_plugins", "tests")
FILES = ("pyproject.toml", "constraints.txt", "Makefile", ".gitignore")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it stands, committed and tagged; not to be changed."""
    folder = tmp_path_factory.mktemp("repository")
    ignored = shutil.ignore_patterns("__pycache__", "golden", "MUJOCO_LOG.TXT")
    for name in CODE:
        shutil.copytree(TOP / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(TOP / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "as it stands")
    git(folder, "tag", TAG)
    return folder


@pytest.fixture
def cloned_from(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository, which clones are made of in this process too."""
    monkeypatch.setattr("scripts.evidence.clones.TOP", repository)
    return repository
