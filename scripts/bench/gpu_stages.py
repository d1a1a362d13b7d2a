"""Stages of the GPU check, the most important first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_SECONDS = 90
PARTS = 6
SIDE_BY_SIDE = 16
CUDA_TESTS = "tests/agents/updates/test_cuda_graphs_on_device.py"


@dataclass(frozen=True)
class Stage:
    """A process of its own, whose failure does not affect the others.

    :param name: name in the results
    :param command: arguments after ``python``
    :param seconds: time limit
    :param file: JSON file of its findings, if it writes one
    """

    name: str
    command: tuple[str, ...]
    seconds: int = MOST_SECONDS
    file: Path | None = None


def rounds(out: Path, device: str, quick: bool) -> Iterator[tuple[str, list[Stage]]]:
    """Yield the name and the stages of each round.

    The stages of a round run in parallel, so only rounds with a single stage measure times.

    :param out: folder of the results
    :param device: ``cuda``; ``cpu`` only shows that the stages run
    :param quick: whether to use tiny sizes
    """
    fused = "triton" if device == "cuda" else "naive"

    def check(
        name: str, algo: str = "td3", kernel: str = fused, number: int | None = None
    ) -> Stage:
        title = f"{name}-{algo}-{kernel}" + ("" if number is None else f"-{number}")
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
    large = () if quick else ("--shapes", "8x64x65536")
    operators = ("--only", "operators", *ours, *large)
    yield (
        "correct",
        [
            *(check("equal", algo) for algo in ("td3", "sac", "dqn")),
            *(check("acted", algo) for algo in ("td3", "sac", "dqn")),
            *(check("resumed", algo) for algo in ("td3", "sac")),
            *(check("copied", algo) for algo in ("td3", "sac")),
            check("resident"),
        ],
    )
    yield "kernels", kernels
    yield "steps", [check("steps")]
    yield "acting", [check("acting")]
    yield "run", [check("run")]
    yield "bench steps", [bench("steps", "--only", "steps", "--algorithms", "td3", *ours)]
    yield "bench actions", [bench("actions", "--only", "actions", "--algorithms", "td3", *ours)]
    yield "bench operators", [bench("operators", *operators, "--alone", "--kinds", "lif")]
    yield "bench actor", [bench("actor", "--only", "actor", "--alone", *ours)]
    yield "bench end to end", [bench("end-to-end", "--only", "end_to_end", *ours)]
    others = "sac,dqn,ddpg,ppo"
    yield "bench others", [bench("others", "--only", "steps", "--algorithms", others, *ours)]
    yield (
        "also correct",
        [
            check("equal", "ddpg"),
            *(check("equal", algo, "naive") for algo in ("td3", "sac")),
            check("equal", "td3", "compile"),
            check("resumed", "dqn"),
            check("copied", "dqn"),
            check("fits", "ppo"),
            check("killed"),
            check("moved"),
            Stage(
                "tests",
                ("-m", "pytest", "-q", CUDA_TESTS),
            ),
        ],
    )
    yield "memory", [check("memory")]
    kinds = "clif,dn,normalised-lif"
    yield "bench neurons", [bench("neurons", *operators, "--alone", "--kinds", kinds)]
    yield "bench libraries", [bench("libraries", *operators, "--kinds", "lif-triangle")]
    yield "side by side", [check("rate", number=number) for number in range(SIDE_BY_SIDE)]


def python(stage: Stage) -> list[str]:
    """Return the whole command of a stage."""
    return [sys.executable, *stage.command]
