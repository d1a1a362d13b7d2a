"""Compose a configuration from command-line overrides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnrl.errors import UserError
from snnrl.experiment.config.choice_files import CONFIG_DIR, SEARCH_PATH, own_folders
from snnrl.experiment.config.explain import explain, settings_of_places, takes_null
from snnrl.experiment.config.nodes import TRAIN, Root, register
from snnrl.experiment.config.overrides import is_sweep, list_value, load_extensions
from snnrl.experiment.config.schema import PLACES
from snnrl.experiment.config.written import written


def compose_config(overrides: Iterable[str] = (), root: Root = TRAIN) -> DictConfig:
    """Compose one configuration, checked only for its types.

    :param overrides: overrides as on the command line, without sweeps
    :param root: the command
    :raises UserError: unknown group choice, unknown key or wrong type
    """
    overrides = list(overrides)
    named = load_extensions(overrides)
    with _hydra(), settings_of_places(overrides):
        cfg = compose(root.name, overrides=[*overrides, *_search_path(overrides)])
        OmegaConf.resolve(cfg)
        _make_floats(cfg)
    for place in PLACES:
        part, _, name = place.rpartition(".")
        if OmegaConf.select(cfg, f"{place}.name") == "none" and _is_optional(cfg[part], name):
            # An empty place is written in one way.
            cfg[part][name] = None
    if list(cfg.plugins) != named:
        raise UserError(f"plugins={cfg.plugins}: expected on the command line, not in a file")
    return cfg


def _make_floats(node: DictConfig) -> None:
    """Write integers as floats where a number or a word is expected, as OmegaConf does by itself
    where only a number is."""
    typed: Any = OmegaConf.get_type(node)
    for field in fields(typed) if is_dataclass(typed) else ():
        if OmegaConf.is_missing(node, field.name):
            continue
        value = node[field.name]
        if isinstance(value, DictConfig):
            _make_floats(value)
        elif field.metadata.get("floats") and isinstance(value, int):
            node[field.name] = float(value)


def _search_path(overrides: list[str]) -> list[str]:
    """Return the setting that tells Hydra of the folders, unless the command line has it."""
    if not own_folders() or list_value(overrides, SEARCH_PATH):
        return []
    # Quotes keep Hydra from reading more than a path.
    return [f"{SEARCH_PATH}=[{','.join(written(f'file://{path}') for path in own_folders())}]"]


@contextmanager
def _hydra() -> Iterator[None]:
    """Context in which configurations can be composed; an error in one becomes a single line."""
    register()
    try:
        if GlobalHydra.instance().is_initialized():
            yield
        else:
            with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
                yield
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None


def _is_optional(node: DictConfig, name: str) -> bool:
    return takes_null(OmegaConf.get_type(node), name)


def hydra_settings(overrides: Iterable[str], *keys: str, root: Root = TRAIN) -> list[str]:
    """Return Hydra's own settings under a command line.

    :param keys: keys such as ``hydra.sweep.dir``, or a group such as ``hydra/launcher`` for its
        choice
    :param root: the command
    :raises UserError: unknown group choice, unknown key or wrong type
    """
    single = [text for text in overrides if not is_sweep(text)]
    with _hydra():
        cfg = compose(root.name, overrides=single, return_hydra_config=True)
        chosen = cfg.hydra.runtime.choices
        return [str(chosen[key] if "/" in key else OmegaConf.select(cfg, key)) for key in keys]
