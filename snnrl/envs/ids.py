"""Ids of environments, and suggestions for a mistyped one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import gymnasium

from snnrl.envs import atari

ALIKE = 0.75
"""Smallest similarity of two names: a lower one would suggest ours for a user's own ``Race-v0``."""


def known_ids() -> list[str]:
    """Return every registered id; for Atari only those that :func:`snnrl.envs.make_env`
    preprocesses."""
    atari.register()
    return [
        spec.id
        for spec in gymnasium.registry.values()
        if spec.id.startswith(atari.NAMESPACE) or "ale_py" not in str(spec.entry_point)
    ]


def nearest_id(text: str, ids: Iterable[str]) -> str | None:
    """Return the id with the nearest name; of several, the most similar one, then the latest
    version.

    :param text: an id, or its name alone, in any spelling: ``lunarlander``, ``Hopper-v9``
    :return: ``None`` if no name is similar
    """
    by_name: dict[str, list[str]] = {}
    for each in ids:
        by_name.setdefault(name_of(each), []).append(each)
    names = difflib.get_close_matches(name_of(text), by_name, n=1, cutoff=ALIKE)
    if not names:
        return None

    def rank(each: str) -> tuple[float, str]:
        return difflib.SequenceMatcher(None, text.lower(), each.lower()).ratio(), each

    return max(by_name[names[0]], key=rank)


def name_of(env_id: str) -> str:
    """Return ``halfcheetah`` for ``HalfCheetah-v4`` and ``half_cheetah``; without namespace or
    module."""
    name = re.split(r"[:/]", env_id)[-1]
    return re.sub(r"[^a-z0-9]", "", re.sub(r"[-_]v\d+$", "", name.lower()))
