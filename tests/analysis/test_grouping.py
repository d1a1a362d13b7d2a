from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnrl.analysis.grouping import choose_baseline, group_runs, grouping_keys, in_environments
from snnrl.analysis.run_folders import find_runs
from snnrl.errors import UserError
from tests.run_folders import write_run

RETURNS = {0: [0.0, 2.0], 1000: [30.0, 50.0]}


def write_runs(folder: Path, seeds: int = 2, **settings: Any) -> None:
    for seed in range(seeds):
        write_run(folder / f"seed-{seed}", RETURNS, seed=seed, **settings)


@pytest.mark.parametrize(
    ("variants", "keys", "names"),
    [
        (
            [{"bn": "carebn"}, {"bn": "vanilla"}],
            ["bn.name"],
            ["carebn", "vanilla"],
        ),
        # The batch size and a key of its own go with the algorithm's name.
        (
            [{}, {"algo": "ddpg", "settings": {"algo.batch_size": 64, "algo.weight_decay": 0.1}}],
            ["algo.name"],
            ["td3", "ddpg"],
        ),
        (
            [{}, {"settings": {"algo.batch_size": 64}}],
            ["algo.batch_size"],
            ["algo.batch_size=256", "algo.batch_size=64"],
        ),
        (
            [{}, {"bn": "vanilla"}, {"bn": "vanilla", "settings": {"bn.momentum": 0.2}}],
            ["bn.name", "bn.momentum"],
            ["carebn, bn.momentum=unset", "vanilla, bn.momentum=unset", "vanilla, bn.momentum=0.2"],
        ),
        # A run from before a setting existed is one with the value in effect then.
        (
            [{}, {"settings": {"bn.confidence": "published", "bn.process_noise": None}}],
            ["algo.name", "actor.name", "neuron.name", "bn.name"],
            ["td3, spiking, lif, carebn"],
        ),
        (
            [{}, {"settings": {"bn.confidence": "kalman"}}],
            ["bn.confidence"],
            ["bn.confidence=published", "bn.confidence=kalman"],
        ),
        (
            [{"bn": "none", "settings": {"actor.name": "ann"}}, {"bn": "carebn"}],
            ["actor.name"],
            ["ann", "spiking"],
        ),
        # What varies with the environment alone tells no settings apart.
        (
            [{}, {"env": "pendulum", "settings": {"algo.batch_size": 64}}],
            ["algo.name", "actor.name", "neuron.name", "bn.name"],
            ["td3, spiking, lif, carebn"],
        ),
        (
            [{}, {"settings": {"total_steps": 5, "device": "cuda", "tracking.mode": "online"}}],
            ["algo.name", "actor.name", "neuron.name", "bn.name"],
            ["td3, spiking, lif, carebn"],
        ),
        # A schedule over another length is another setting.
        (
            [
                {"settings": {"surrogate.scale_end": 4.0, "total_steps": 1000}},
                {"settings": {"surrogate.scale_end": 4.0, "total_steps": 2000}},
            ],
            ["total_steps"],
            ["total_steps=1000", "total_steps=2000"],
        ),
        (
            [
                {"settings": {"surrogate.scale_end": None, "total_steps": 1000}},
                {"settings": {"surrogate.scale_end": None, "total_steps": 2000}},
                {"settings": {"surrogate.scale_end": 4.0, "total_steps": 2000}},
            ],
            ["surrogate.scale_end"],
            ["surrogate.scale_end=None", "surrogate.scale_end=4.0"],
        ),
    ],
)
def test_default_grouping(
    tmp_path: Path, variants: list[dict[str, Any]], keys: list[str], names: list[str]
) -> None:
    for number, variant in enumerate(variants):
        write_runs(tmp_path / str(number), **variant)
    runs = find_runs([tmp_path])
    assert grouping_keys(runs) == keys
    groups = group_runs(runs, keys)
    assert list(groups) == names
    assert sum(len(members) for members in groups.values()) == 2 * len(variants)


@pytest.mark.parametrize(
    ("variants", "keys", "baseline"),
    [
        ([{"bn": "carebn"}, {"bn": "vanilla"}, {"bn": "none"}], ["bn.name"], "vanilla"),
        ([{"bn": "carebn"}, {"bn": "none"}], ["bn.name"], "none"),
        ([{"bn": "carebn"}, {"bn": "re_only"}], ["bn.name"], "carebn"),
        (
            [{"bn": "vanilla"}, {"bn": "none", "settings": {"actor.name": "ann"}}],
            ["actor.name", "bn.name"],
            "ann, none",
        ),
        ([{"bn": "vanilla"}], ["bn.name"], None),
    ],
)
def test_default_baseline(
    tmp_path: Path, variants: list[dict[str, Any]], keys: list[str], baseline: str | None
) -> None:
    for number, variant in enumerate(variants):
        write_runs(tmp_path / str(number), seeds=1, **variant)
    groups = group_runs(find_runs([tmp_path]), keys)
    assert choose_baseline(groups, None) == baseline


def test_default_baseline_has_a_result(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", seeds=1)
    write_runs(tmp_path / "b", seeds=1, bn="none")
    write_runs(tmp_path / "c", seeds=1, bn="vanilla", status="FAILED")
    groups = group_runs(find_runs([tmp_path]), ["bn.name"])
    assert choose_baseline(groups, None) == "none"


def test_chosen_baseline(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", seeds=1)
    groups = group_runs(find_runs([tmp_path]), ["bn.name"])
    assert choose_baseline(groups, "carebn") == "carebn"
    with pytest.raises(UserError, match=r"--baseline care: expected one of .* mean 'carebn'"):
        choose_baseline(groups, "care")


def test_in_environments(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", seeds=1)
    write_runs(tmp_path / "b", seeds=2, env="pendulum")
    runs = find_runs([tmp_path])
    chosen = in_environments(runs, ["Pendulum-v1"])
    assert [run.environment for run in chosen] == ["Pendulum-v1", "Pendulum-v1"]
    with pytest.raises(UserError, match=r"--env Pendulum-v0: .* did you mean 'Pendulum-v1'"):
        in_environments(runs, ["Pendulum-v0"])
