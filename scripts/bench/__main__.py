"""Run the benchmark: ``python -m scripts.bench`` from the top folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from scripts.bench.options import parse
from snnrl.errors import exit_status


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0, 1 if a contestant is wrong or fails, 2 for a user error."""
    return exit_status(lambda: _bench(arguments))


def _bench(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    # Before the import of torch, which reads them only then.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    from scripts.bench.run import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
