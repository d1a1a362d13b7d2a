"""Versions and hardware of a run, for a comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from snnrl.run_format.provenance import own_sources
from snnrl.text import shortened

HARDWARE = ("cpu", "cpus", "gpu")


def versions_of(starts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return versions of packages, code and kernel; of a run that was resumed elsewhere, all.

    :param starts: see :func:`snnrl.run_format.provenance.read_provenance`
    """
    return _merge_values(
        {
            **facts.get("versions", {}),
            **_code(facts),
            **({"kernel": facts["kernel"]} if "kernel" in facts else {}),
        }
        for facts in starts
    )


def hardware_of(starts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the hardware of the run, by the keys ``HARDWARE``; of a run that moved, all.

    :param starts: see :func:`snnrl.run_format.provenance.read_provenance`
    """
    found = (facts.get("hardware", {}) for facts in starts)
    return _merge_values({name: each[name] for name in HARDWARE if name in each} for each in found)


def sources_of(starts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the digest of the source of each module of the user's own; of a run that was resumed
    with others, all.

    :param starts: see :func:`snnrl.run_format.provenance.read_provenance`
    """
    return _merge_values(
        {name: str(digest)[:8] for name, digest in own_sources(facts).items()} for facts in starts
    )


def _code(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the git revision, with a digest of uncommitted changes."""
    git = facts.get("git")
    if not isinstance(git, dict) or not git.get("revision"):
        return {}
    changes = {key: git[key] for key in ("diff", "untracked") if git.get(key)}
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]
    return {"code": str(git["revision"])[:8] + (f" with changes {digest}" if changes else "")}


def _merge_values(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return one value per name; of a run resumed elsewhere, all values in order."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(shortened(name), {})[shortened(value)] = None
    return {name: " then ".join(found) for name, found in values.items()}
