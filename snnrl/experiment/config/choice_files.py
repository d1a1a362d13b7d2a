"""Files of the choices of each group, in ``configs/`` and in the user's own folders."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

import snnrl
from snnrl.errors import UserError
from snnrl.experiment.config import facts

_PACKAGE = Path(snnrl.__file__).parent
CONFIG_DIR = next(d for d in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if d.is_dir())
"""Beside the package in an installed wheel, at the top of a checkout otherwise."""

SEARCH_PATH = "hydra.searchpath"
"""Hydra's setting for further configuration folders."""

_own_folders: list[Path] = []


def own_folders() -> tuple[Path, ...]:
    """Return the user's folders of choices."""
    return tuple(_own_folders)


def use_folder(folder: Path) -> None:
    """Add a user's folder of choices; those of the package take precedence.

    :raises UserError: not a folder
    """
    if not folder.is_dir():
        raise UserError(f"{SEARCH_PATH}: {folder} is not a folder; expected one like configs/")
    if folder.absolute() not in _own_folders:
        _own_folders.append(folder.absolute())
        environment_choice.cache_clear()


def choices(group: str) -> list[str]:
    """Return the names that ``group=...`` accepts; names that begin with ``_`` are parts of
    others."""
    names = {*files(group), *facts.components().get(group, {})}
    return sorted(name for name in names if not name.startswith("_"))


def files(group: str) -> dict[str, Path]:
    """Return the files of a group's choices by name."""
    return {
        path.relative_to(folder / group).with_suffix("").as_posix(): path
        for folder in reversed((CONFIG_DIR, *_own_folders))
        for path in (folder / group).rglob("*.yaml")
    }


@cache
def environment_choice(env_id: str, observation: str) -> str | None:
    """Return the choice of the group ``env`` for this environment; ``None`` for others."""
    for choice, env in _environments():
        if (env.get("id"), env.get("observation", "default")) == (env_id, observation):
            return choice
    return None


def _environments() -> Iterator[tuple[str, DictConfig]]:
    for choice, file in sorted(files("env").items()):
        values = OmegaConf.load(file)
        assert isinstance(values, DictConfig)
        yield choice, values.get("env", values)


def environment_ids() -> dict[str, str]:
    """Return the id of each choice of the group ``env``."""
    return {choice: str(env.get("id")) for choice, env in _environments()}
