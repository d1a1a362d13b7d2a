"""What is looked at on a GPU, most important first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_SECONDS = 90
PARTS = 6


@dataclass(frozen=True)
class Stage:
    """A process of its own, which fails alone.

    :param name: what it is called in the results
    :param command: its arguments after ``python``
    :param seconds: the longest that it may take
    :param file: where it writes what it finds, if it does
    """

    name: str
    command: tuple[str, ...]
    seconds: int = MOST_SECONDS
    file: Path | None = None


def rounds(out: Path, device: str, quick: bool) -> Iterator[tuple[str, list[Stage]]]:
    """Names of rounds, and their stages: those of a round run side by side, so that only rounds of
    one stage are timed.

    :param out: folder of the results
    :param device: ``cuda``; ``cpu`` shows that the stages run
    :param quick: tiny sizes
    """
    fused = "triton" if device == "cuda" else "naive"

    def check(name: str, algo: str = "td3", kernel: str = fused) -> Stage:
        title = f"{name}-{algo}-{kernel}"
        file = out / f"{title}.json"
        command = ["-m", "scripts.bench.device_check", name, "--algo", algo, "--kernel", kernel]
        command += ["--device", device, "--out", str(file), *["--quick"] * quick]
        return Stage(title, tuple(command), file=file)

    def bench(title: str, *arguments: str) -> Stage:
        command = ["-m", "scripts.bench", "--device", device, "--out", str(out), *arguments]
        return Stage(f"bench-{title}", (*command, *["--quick"] * quick))

    kernels = [
        Stage(f"kernels-{part}", ("-m", "scripts.bench.check_kernels", f"{part}/{PARTS}"))
        for part in range(1, PARTS + 1)
    ]
    ours = ("--kernels", fused)
    large = ("--only", "operators", *ours, *([] if quick else ["--shapes", "8x64x65536"]))
    yield (
        "correct",
        [
            check("equal"),
            check("equal", "sac"),
            check("equal", "dqn"),
            check("resumed"),
            check("copied"),
            check("resident"),
            *kernels,
        ],
    )
    yield "steps", [check("steps")]
    yield "acting", [check("acting")]
    yield "run", [check("run")]
    yield "bench steps", [bench("steps", "--only", "steps", "--algorithms", "td3", *ours)]
    yield "bench operators", [bench("operators", *large, "--kinds", "lif,lif-triangle")]
    yield (
        "more that must be the same",
        [
            check("equal", "ddpg"),
            check("equal", kernel="naive"),
            check("equal", "sac", "naive"),
            check("resumed", "sac"),
            check("resumed", "dqn"),
            check("copied", "sac"),
            check("copied", "dqn"),
            check("fits", "ppo"),
            check("killed"),
            Stage("tests", ("-m", "pytest", "-q", "tests/agents/test_captured_cuda.py")),
        ],
    )
    yield "memory", [check("memory")]
    yield "bench actions", [bench("actions", "--only", "actions", "--algorithms", "td3", *ours)]
    yield "bench actor", [bench("actor", "--only", "actor", *ours)]
    yield "bench end to end", [bench("end-to-end", "--only", "end_to_end", *ours)]
    others = "sac,dqn,ddpg,ppo"
    yield "bench others", [bench("others", "--only", "steps", "--algorithms", others, *ours)]
    yield "bench neurons", [bench("neurons", *large, "--kinds", "clif,dn,normalised-lif")]


def python(stage: Stage) -> list[str]:
    """The whole command."""
    return [sys.executable, *stage.command]
