"""Settings as written in a command line and in ``config.yaml``: written values are read back
unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config.schema import ClassifyConfig
from snnrl.run_format.config import check_lengths
from snnrl.run_format.documents import parse_document
from snnrl.run_format.names import CONFIG
from snnrl.run_format.settings import FREE
from snnrl.text import shortened

SETTINGS = tuple(field.name for field in fields(ClassifyConfig))

LARGEST_ARGUMENTS = 2**18
"""Most bytes of ``env.kwargs`` or ``env.wrappers`` as YAML; a record holds several copies of
them."""


def check_round_trip(cfg: DictConfig) -> None:
    """Check that a record of this configuration can be read and the run reproduced from it.

    :raises UserError: naming the setting that would be lost or changed
    """
    for key in FREE:
        value = OmegaConf.select(cfg, key)
        text = OmegaConf.to_yaml(value)
        if (size := len(text.encode("utf-8", "backslashreplace"))) > LARGEST_ARGUMENTS:
            raise UserError(f"{key}: has {size:,} bytes; expected at most {LARGEST_ARGUMENTS:,}")
        parse_document(text, key)
    values = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    read = parse_document(OmegaConf.to_yaml(cfg), CONFIG)
    check_lengths(read, CONFIG)
    found = dict(leaves(read))
    for key, value in leaves(values):
        check_plain(key, value)
        if repr(found.get(key)) != repr(value):
            raise UserError(
                f"{key}={shortened(value)}: {CONFIG} would hold {shortened(found.get(key))}; "
                "expected strings, numbers, true, false, null, lists and mappings"
            )
        if key in FREE:
            check_written(key, value)


def check_written(key: str, value: Any) -> None:
    """Check that Hydra reads the output of :func:`written` as the same value.

    :raises UserError: it does not; Hydra has no quotes around keys
    """
    try:
        override = OverridesParser.create().parse_override(f"{key}={written(value)}")
        same = not override.is_sweep_override() and repr(override.value()) == repr(value)
    except (HydraException, RecursionError):
        same = False
    if not same:
        raise UserError(
            f"{key}={shortened(value)}: a command line cannot express it; expected keys that "
            "begin with a letter, of letters, digits, '_' and '-'"
        )


def check_plain(key: str, value: Any) -> None:
    """Refuse an override that Hydra would read as more than a setting and its value.

    :raises UserError: a key of Hydra's own, which may name configuration folders and classes, or an
        interpolation, such as that of an environment variable
    """
    if key.split(".")[0] not in SETTINGS or not re.fullmatch(r"[\w.]+", key):
        raise UserError(f"{key}: no such setting; expected those of --help")
    if "${" in str(value):
        raise UserError(f"{key}={shortened(value)}: expected a value, without '${{'")


def written(value: Any) -> str:
    """Return a value in the syntax of Hydra's command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Mapping):
        # Hydra has no quotes around keys.
        keys = [re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", str(key)) for key in value]
        pairs = zip(keys, map(written, value.values()), strict=True)
        return "{" + ",".join(f"{key}:{each}" for key, each in pairs) + "}"
    plain = r"(?!(?i:true|false|null|nan|inf)$)[A-Za-z_./][\w./-]*"
    if isinstance(value, str) and not re.fullmatch(plain, value):
        # Hydra reads a backslash as an escape only before a quote.
        quoted = re.sub(r"(\\*)'", r"\1\1\\'", value)
        quoted = re.sub(r"(\\+)$", r"\1\1", quoted)
        return f"'{quoted}'"
    return str(value)


def leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; a setting that only the environment can check is one value."""
    for key, value in node.items():
        if isinstance(value, Mapping | DictConfig) and f"{prefix}{key}" not in FREE:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
