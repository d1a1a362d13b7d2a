"""Configurations as tables and figures show them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from snnrl.run_format.settings import FREE
from snnrl.text import LONGEST


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration for display: long arguments of the environment are cut.

    A digest replaces the cut part, so that different values stay distinguishable.
    """
    env = config.get("env")
    if not isinstance(env, Mapping):
        return dict(config)
    names = [key.removeprefix("env.") for key in FREE]
    cut = {name: _cut(env[name]) for name in names if name in env}
    return {**config, "env": {**env, **cut}}


def _cut(value: Any) -> Any:
    if isinstance(value, Mapping) and all(len(key) <= LONGEST for key in value):
        return {key: _cut(each) for key, each in value.items()}
    text = str(value)
    if len(text) <= LONGEST:
        return value
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{text[:40]}... ({len(text):,} characters, {digest})"
