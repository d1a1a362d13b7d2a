"""Classes that pickles of a run folder name: where one moves, its earlier name must lead there."""

from __future__ import annotations

import base64
import io
import json
import pickletools
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest


def named(pickled: bytes) -> Iterator[str]:
    """Modules of this package that a pickle names: each is a text in it, at least once."""
    for _, argument, _ in pickletools.genops(pickled):
        if isinstance(argument, str) and argument.startswith("snnrl."):
            yield argument.split(" ")[0]


def pickles(content: bytes) -> Iterator[bytes]:
    """The pickles in a zip of torch's or of Stable-Baselines3's."""
    with ZipFile(io.BytesIO(content)) as zipped:
        for name in zipped.namelist():
            if name.endswith(".pkl"):
                yield zipped.read(name)
            elif name.endswith(".pth"):
                yield from pickles(zipped.read(name))
            elif name == "data":
                for value in json.loads(zipped.read(name)).values():
                    if isinstance(value, dict) and ":serialized:" in value:
                        yield base64.b64decode(value[":serialized:"])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_none_is_of_the_experiment(two_runs: dict[str, Path], algo: str) -> None:
    files = [*two_runs[algo].glob("*.zip"), *two_runs[algo].glob("checkpoint/save-*/*.[zp]*")]
    assert {"model.zip", "agent.zip", "state.pt"} <= {file.name for file in files}
    parts = [part for file in files for part in pickles(file.read_bytes())]
    modules = {name for part in parts for name in named(part)}
    # Those of the agents: tests/agents/test_earlier_names.py.
    assert {".".join(name.split(".")[:2]) for name in modules} == {"snnrl.agents"}
