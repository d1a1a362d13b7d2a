"""The queue yields to everything, also across sessions."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.evidence.priority import lower


@pytest.fixture(params=[True, False], ids=["leader", "guest"])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, start_new_session=request.param
    ) as process:
        yield process


def niceness_of_session(pid: int) -> int | None:
    """``None`` where sessions are not scheduled as groups."""
    try:
        text = Path(f"/proc/{pid}/autogroup").read_text()
    except OSError:
        return None
    found = re.search(r"nice (-?\d+)$", text.strip())
    return int(found[1]) if found else None


def test_a_process_and_the_session_it_leads(process: subprocess.Popen[bytes]) -> None:
    before = niceness_of_session(process.pid)
    lower(process.pid)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    leads = os.getsid(process.pid) == process.pid
    after = 19 if leads and before is not None else before
    assert niceness_of_session(process.pid) == after
