"""The list of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.evidence.entries import read_entries
from scripts.evidence.place import TOP
from snnrl.errors import UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.overrides import check_override
from snnrl.experiment.config.validate import validate
from snnrl.experiment.folder.run_folder import RunFolder
from tests.evidence.helpers import TAG, group


def written(folder: Path, content: Any) -> Path:
    file = folder / "list.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def test_runs_go_seed_by_seed(tmp_path: Path) -> None:
    one = group(settings="env=hopper", variants=["bn=none", "actor=ann bn=none"], seeds=[3, 1])
    two = group(settings="env=hopper", variants=["bn=none"], seeds=[1], steps=190, tag="v2.0-b")
    entries = read_entries(written(tmp_path, {"groups": [one, two]}))
    assert [(entry.number, entry.name, entry.steps) for entry in entries] == [
        (1, "env=hopper bn=none seed=3", 100),
        (2, "env=hopper actor=ann bn=none seed=3", 100),
        (3, "env=hopper bn=none seed=1", 100),
        (4, "env=hopper actor=ann bn=none seed=1", 100),
        (5, "env=hopper bn=none seed=1", 190),
    ]
    assert entries[1].overrides("runs") == [
        *("env=hopper", "actor=ann", "bn=none", "seed=3", "total_steps=100"),
        *("threads=1", "tracking=none", "results_dir=runs"),
    ]
    assert entries[4].tag == "v2.0-b"


def test_a_tag_is_one_commit(tmp_path: Path) -> None:
    groups = [group(commit=digit * 40, seeds=[seed]) for seed, digit in enumerate("01")]
    with pytest.raises(UserError, match=f"tag {TAG}: commit 1{{40}} in run 2 and 0{{40}} in run 1"):
        read_entries(written(tmp_path, {"groups": groups}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tag": "../elsewhere"}, "group 1: tag=../elsewhere: expected a tag"),
        ({"tag": "--upload-pack"}, "tag=--upload-pack: expected a tag"),
        ({"tag": 1}, "tag=1: expected a tag"),
        ({"commit": "main"}, "commit=main: expected the 40 hexadecimal digits"),
        ({"commit": "--all"}, "commit=--all: expected the 40 hexadecimal digits"),
        (
            {"settings": ["env=hopper"]},
            "settings=['env=hopper']: expected settings separated by spaces",
        ),
        ({"settings": ""}, "settings=: expected settings separated by spaces"),
        (
            {"settings": "env='hopper"},
            "settings=env='hopper: expected settings separated by spaces",
        ),
        ({"variants": []}, "variants=[]: expected a list"),
        ({"variants": "bn=none"}, "variants=bn=none: expected a list"),
        ({"seeds": [0, 0]}, "seeds=[0, 0]: expected a list of different seeds"),
        ({"seeds": [-1]}, "seeds=[-1]: expected a list"),
        ({"seeds": [True]}, "seeds=[True]: expected a list"),
        ({"seeds": 3}, "seeds=3: expected a list"),
        ({"steps": 0}, "steps=0: expected total environment steps"),
        ({"steps": 1.5}, "steps=1.5: expected total environment steps"),
        (
            {"step": 100},
            "step: expected only tag, commit, settings, variants, seeds, steps; did you mean",
        ),
        ({"settings": "env=hopper seed=1"}, "seed=1: set by the queue"),
        ({"variants": ["total_steps=9"]}, "total_steps=9: set by the queue"),
        ({"variants": ["tracking.project=x"]}, "tracking.project=x: set by the queue"),
        ({"variants": ["hydra/launcher=joblib"]}, "hydra/launcher=joblib: set by the queue"),
        ({"variants": ["results_dir=/tmp"]}, "results_dir=/tmp: set by the queue"),
    ],
)
def test_a_group_that_does_not_fit(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refused:
        read_entries(written(tmp_path, {"groups": [group(**changes)]}))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["tag", "settings", "variants", "seeds", "steps"])
def test_a_key_that_is_missing(tmp_path: Path, key: str) -> None:
    incomplete = {name: value for name, value in group().items() if name != key}
    with pytest.raises(UserError, match=f"group 2: no '{key}', expected"):
        read_entries(written(tmp_path, {"groups": [group(), incomplete]}))


@pytest.mark.parametrize(
    "content",
    ["", "groups:", "groups: []", "- a", "groups: {a: 1}", "a: [\n", "groups: [{}]\nmore: 1", "x"],
)
def test_a_file_that_is_no_list(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError) as refused:
        read_entries(written(tmp_path, content))
    assert str(refused.value).startswith(f"{tmp_path / 'list.yaml'}: ")
    assert "\n" not in str(refused.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml: cannot be read"):
        read_entries(tmp_path / "nothing.yaml")


def test_the_real_list_composes_and_is_what_was_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entries = read_entries(TOP / "configs" / "evidence.yaml")
    lengths: dict[Path, list[int]] = {}
    for entry in (entry for entry in entries if entry.seed == 0):
        overrides = [check_override(text) for text in entry.overrides("results/runs")]
        cfg = compose_config(overrides)
        validate(cfg)
        assert (cfg.threads, cfg.tracking.name, cfg.device) == (1, "none", "cpu")
        # The published evaluation; runs end at one, so that an extension has no row too many.
        assert (cfg.evaluation.every, cfg.evaluation.episodes) == (5000, 10)
        assert all(entry.steps % n == 0 for n in (cfg.evaluation.every, cfg.log_every))
        lengths.setdefault(RunFolder(cfg).path, []).append(entry.steps)
    assert [entry.name.split("carebn/td3 ")[1] for entry in entries[:4]] == [
        "env=hopper device=cpu bn=carebn seed=0",
        "env=hopper device=cpu bn=none seed=0",
        "env=hopper device=cpu bn=vanilla seed=0",
        "env=hopper device=cpu bn=carebn seed=1",
    ]
    # Hopper's are extended, and no run is there twice.
    hopper = [steps for path, steps in lengths.items() if path.parts[-3] == "Hopper-v4"]
    assert [steps for steps in hopper if len(steps) > 1] == [[300_000, 1_025_000]] * 3
    # The proxies come behind the first group, at a tag of their own.
    proxies = [entry for entry in entries if "proxy" in entry.name]
    assert {entry.tag for entry in proxies} == {"evidence-2"}
    assert [entry.number for entry in proxies] == [10, 11, 12, 13, 14, 15]
    assert {(entry.steps, entry.seed) for entry in proxies} == {(300_000, n) for n in range(3)}
    assert hopper.count([300_000]) == 2
    assert all(steps == sorted(set(steps)) for steps in lengths.values())
