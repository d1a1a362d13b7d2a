"""Ids of environments, and which one a mistaken one may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import gymnasium

from snnrl.envs import atari

ALIKE = 0.75
"""How much of two names must be the same: less would answer one's own ``Race-v0`` with ours."""


def known_ids() -> list[str]:
    """Every registered id; of Atari's only those that :func:`snnrl.envs.make_env` preprocesses."""
    atari.register()
    return [
        spec.id
        for spec in gymnasium.registry.values()
        if spec.id.startswith(atari.NAMESPACE) or "ale_py" not in str(spec.entry_point)
    ]


def nearest_id(text: str, ids: Iterable[str]) -> str | None:
    """The id whose name is nearest: of several the one that is most alike, then the latest.

    :param text: an id, or its name alone, in any spelling: ``lunarlander``, ``Hopper-v9``
    :return: ``None`` if no name is like it
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
    """``halfcheetah`` for ``HalfCheetah-v4`` and ``half_cheetah``; without namespace or module."""
    name = re.split(r"[:/]", env_id)[-1]
    return re.sub(r"[^a-z0-9]", "", re.sub(r"[-_]v\d+$", "", name.lower()))
