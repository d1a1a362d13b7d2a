"""Run one check on a device: ``python -m scripts.bench.device_check NAME``."""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from scripts.bench import device_checks, device_run, device_times
from scripts.bench.findings import Findings
from scripts.bench.options import Options
from snnrl.errors import with_short_errors

CHECKS: dict[str, Callable[[str, str, Options, Findings], None]] = {
    "equal": device_checks.equal,
    "resumed": device_checks.resumed,
    "acted": device_checks.acted,
    "copied": device_checks.copied,
    "resident": device_checks.resident,
    "fits": device_checks.fits,
    "memory": device_times.memory,
    "steps": device_times.steps,
    "acting": device_times.acting,
    "run": device_times.run,
    "rate": device_times.rate,
    "killed": device_run.killed,
    "moved": device_run.moved,
}


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0, or 1 if an expectation does not hold or the check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CHECKS)
    parser.add_argument("--algo", default="td3")
    parser.add_argument("--kernel", default="triton")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a smoke test")
    parser.add_argument("--out", type=Path, help="JSON file of what was found")
    given = with_short_errors(parser).parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    findings = Findings(given.out)
    options = Options(quick=given.quick, device=given.device)
    try:
        CHECKS[given.name](given.algo, given.kernel, options, findings)
    except Exception:
        findings.expect("ran", False, traceback.format_exc().splitlines())
    print(f"{len(findings.failed)} failed: {findings.failed}")
    return 1 if findings.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
