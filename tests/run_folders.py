"""Run folders as the train command leaves them, with numbers of the test's choosing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from snnrl.experiment.config.compose import compose_config
from snnrl.run_format.config import flatten
from snnrl.run_format.settings import NOT_SETTINGS

ENV_IDS = {"half_cheetah": "HalfCheetah-v4", "pendulum": "Pendulum-v1"}


def write_run(
    folder: Path,
    returns: Mapping[int, Sequence[float]],
    *,
    seed: int = 0,
    algo: str = "td3",
    bn: str = "carebn",
    env: str = "half_cheetah",
    status: str | None = "DONE",
    settings: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    hardware: Mapping[str, Any] | None = None,
    errors: Mapping[int, Sequence[float]] | None = None,
    clock: Mapping[int, float] | None = None,
) -> Path:
    """Write a run folder and return it.

    :param returns: episode returns by environment steps
    :param status: the file that says how the run ended; None for one that has not
    :param settings: dotted keys that change or join the configuration
    :param clock: seconds by environment steps, as progress.csv has them
    :param errors: mean error of each layer by environment steps, before re-calibration
    """
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "seed": seed,
        "total_steps": 1000,
        "results_dir": str(folder.parent),
        "env": {"id": ENV_IDS[env]},
        "algo": {"name": algo, "batch_size": 256},
        "actor": {"name": "spiking"},
        "neuron": {"name": "lif"},
        "bn": {"name": bn},
    }
    for key, value in (settings or {}).items():
        *groups, name = key.split(".")
        node = config
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = ["timesteps,episode,seed,return,length"]
    for step, episodes in returns.items():
        first = 1000 * seed
        lines += [f"{step},{n},{first + n},{value},200" for n, value in enumerate(episodes)]
    (folder / "evaluations.csv").write_text("\n".join(lines) + "\n")
    if errors is not None:
        lines = ["timesteps,data,phase,layer,mean_error,variance_ratio,wasserstein2"]
        for step, layers in errors.items():
            for layer, value in enumerate(layers):
                lines.append(f"{step},evaluation,before,layer{layer},1e9,1.1,0.1")
                lines.append(f"{step},evaluation,after,layer{layer},{value},1.1,0.1")
                lines.append(f"{step},replay,after,layer{layer},1e9,1.1,0.1")
        (folder / "statistics_error.csv").write_text("\n".join(lines) + "\n")
    if versions is not None:
        provenance = {"versions": dict(versions), "hardware": dict(hardware or {})}
        (folder / "provenance.json").write_text(json.dumps(provenance))
    if clock is not None:
        lines = ["timesteps,time/time_elapsed", *(f"{s},{t}" for s, t in clock.items())]
        (folder / "progress.csv").write_text("\n".join(lines) + "\n")
    if status is not None:
        done = {"timesteps": max(returns, default=0)}
        (folder / status).write_text(json.dumps(done) if status == "DONE" else "")
    return folder


@cache
def published_settings(*changes: str) -> Mapping[str, Any]:
    """Settings of CaRe-BN's protocol, changed by a command line; without environment and length."""
    composed = compose_config(["experiment=carebn/td3", *changes])
    config: Any = OmegaConf.to_container(composed, resolve=True)
    return {
        key: value
        for key, value in flatten(config)
        if key != "env.id" and key.split(".")[0] not in NOT_SETTINGS
    }
