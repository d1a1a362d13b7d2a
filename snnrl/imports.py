"""Modules that commands and environments name: importing one runs its code."""

from __future__ import annotations

import json
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator
from functools import cache
from importlib import import_module, metadata
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

from snnrl.errors import UserError
from snnrl.text import one_line


def import_named(modules: Collection[str]) -> None:
    """Import the modules that a command line names; this runs their code.

    :raises UserError: one cannot be imported
    """
    for module in modules:
        try:
            import_module(module)
        except Exception as problem:  # Their code may raise anything.
            reason = f"{type(problem).__name__}: {one_line(problem)}"
            raise UserError(f"--module {module}: cannot be imported ({reason})") from problem


def check_module(text: str, named: Collection[str] = ()) -> None:
    """Check that the module of ``module:Id`` belongs to an installed package or is named by the
    user.

    The current folder is first on the path of ``python -m``. A module there, or one that hides an
    installed package, does not count as installed.

    :param named: modules that the user has named
    :raises UserError: it imports another
    """
    module, colon, _ = text.rpartition(":")
    if not colon or _is_named(module, named):
        return
    if not _is_installed(module):
        raise UserError(
            f"env.id={text}: would import {module}, which belongs to no installed package; if you "
            f"trust its code, name it: --module {module}"
        )


def check_wrapper(text: str, named: Collection[str] = ()) -> None:
    """Check that a wrapper is one of gymnasium's, by its bare name, or is from a named module.

    Wrappers of installed packages may write files wherever their arguments say.

    :param named: modules that the user has named
    :raises UserError: it is another
    """
    module, colon, _ = text.partition(":")
    if colon and not _is_named(module, named):
        raise UserError(
            f"env.wrappers: {text} would run {module}; if you trust its code with these arguments, "
            f"name it: --module {module}"
        )


def _is_named(module: str, named: Collection[str]) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in named)


def _is_installed(module: str) -> bool:
    name = module.partition(".")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places, homes = _places(spec), _site_folders()
    editable = set(_editable_homes(name, homes))
    return bool(places) and all(
        place.parent in editable or any(home in place.parents for home in homes) for place in places
    )


def is_own(module: str) -> bool:
    """Return whether the source of a module can change without a version that tells: it is neither
    this package's nor Python's, nor that of a package that was installed as a copy.

    Nothing is imported.
    """
    return _is_own(module.partition(".")[0])


@cache
def _is_own(top: str) -> bool:
    if top == __name__.partition(".")[0] or top in sys.stdlib_module_names:
        return False
    spec = PathFinder.find_spec(top)
    homes = _site_folders()
    return spec is None or not all(
        any(home in place.parents for home in homes) for place in _places(spec)
    )


def installed_versions(module: str) -> dict[str, str]:
    """Return the version of each distribution that brings the package of a module, by the name of
    the distribution."""
    top = module.partition(".")[0]
    found = metadata.packages_distributions().get(top, [])
    return {name: metadata.version(name) for name in found}


def _places(spec: ModuleSpec) -> list[Path]:
    # A namespace package has several places, and one of them may be the current folder.
    return [Path(p).resolve() for p in spec.submodule_search_locations or [spec.origin or ""]]


def _site_folders() -> list[Path]:
    """Return the folders into which packages are installed."""
    known = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    known += [*site.getsitepackages(), site.getusersitepackages()]
    return [Path(folder).resolve() for folder in dict.fromkeys(known)]


def _editable_homes(name: str, folders: list[Path]) -> Iterator[Path]:
    """Yield the possible locations of a top-level module installed with ``pip install -e``."""
    for distribution in metadata.distributions(path=[str(folder) for folder in folders]):
        origin = distribution.read_text("direct_url.json")
        names = (distribution.read_text("top_level.txt") or "").split()
        if origin is None or name not in names:
            continue
        facts = json.loads(origin)
        if facts.get("dir_info", {}).get("editable"):
            project = Path(unquote(urlparse(facts["url"]).path)).resolve()
            yield from (project, project / "src")
