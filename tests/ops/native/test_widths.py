"""The operators compute the same bits, however wide the vectors of the machine are."""

import platform
from pathlib import Path

import pytest
import torch

from snnrl.ops.native import library as module
from snnrl.ops.native.library import library

from .results import results

# With the feature of /proc/cpuinfo that a machine needs to run them.
LEVELS = {"x86-64": "sse2", "x86-64-v2": "sse4_2", "x86-64-v3": "avx2", "x86-64-v4": "avx512dq"}


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels of x86-64")
@pytest.mark.parametrize("level", LEVELS)
def test_every_width_computes_the_same_bits(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = Path("/proc/cpuinfo").read_text()
    if LEVELS[level] not in cpu:
        pytest.skip(f"this machine has no {LEVELS[level]}")
    expected = {kind: results(kind) for kind in ("lif", "clif")}
    flags = [f"-march={level}" if flag == "-march=native" else flag for flag in module.FLAGS]
    monkeypatch.setattr(module, "FLAGS", tuple(flags))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    try:
        for kind, values in expected.items():
            for before, after in zip(values, results(kind), strict=True):
                assert torch.equal(before, after)
    finally:
        library.cache_clear()
    assert list((tmp_path / "snnrl").glob("operators-*.so"))
