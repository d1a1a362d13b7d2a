"""Folders from strangers: what looks at them runs nothing of theirs, and shows texts as texts."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import yaml

from snnrl import compare, evaluate, reproduce
from snnrl.agents import AGENTS, PPO
from snnrl.errors import UserError
from snnrl.experiment.reproduction.remake import read_typed_config
from snnrl.experiment.trained import STATISTICS, load_trained
from snnrl.imports import check_module
from tests.damage import Evil, copied, reseal
from tests.run_folders import write_run

ESCAPES = "\x1b]0;owned\x07\x1b[31m\u202ered"
MODULE = "import pathlib\npathlib.Path('canary').touch()\nimport gymnasium\n" + (
    "gymnasium.register('Theirs-v0', 'gymnasium.envs.classic_control:CartPoleEnv', "
    "max_episode_steps=10)\n"
)


@pytest.fixture
def folder(two_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a finished run of DQN; the current folder is above it."""
    monkeypatch.chdir(tmp_path)
    return copied(two_runs["dqn"], tmp_path / "seed-0")


@pytest.fixture
def ppo(two_runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run of PPO, which normalised its observations."""
    return copied(two_runs["ppo"], tmp_path / "ppo" / "seed-0")


def edit(file: Path, change: Callable[[Any], None]) -> None:
    """Change a document, and make ``DONE`` say that it was always so."""
    content = yaml.safe_load(file.read_text())
    change(content)
    text = json.dumps(content) if file.suffix == ".json" else yaml.safe_dump(content)
    file.write_text(text)
    reseal(file.parent)


def replace_entry(model: Path, name: str, content: bytes) -> None:
    """Put other content into a zip."""
    with ZipFile(model) as zipped:
        entries = {n: zipped.read(n) for n in zipped.namelist()}
    with ZipFile(model, "w") as zipped:
        for n, text in {**entries, name: content}.items():
            zipped.writestr(n, text)
    reseal(model.parent)


def ask(command: Callable[[list[str]], int], *words: Any) -> int:
    return command([str(word) for word in words])


def the_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


# git


@pytest.mark.parametrize(
    "revision",
    ["--output=emptied", "-O", "HEAD", "v1", "../x", "abc", "0" * 65, 5, ["0" * 40], "é" * 8],
)
def test_git_is_given_nothing_but_hexadecimal_digits(
    revision: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "emptied").write_text("mine")
    edit(folder / "provenance.json", lambda facts: facts["git"].update(revision=revision))
    assert ask(reproduce.main, folder, "--check") == 2
    assert "git.revision: expected hexadecimal digits" in the_line(capsys)
    assert (tmp_path / "emptied").read_text() == "mine"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "x\ndiff --git a/y b/y", "\x1b[2J"]
)
def test_a_patch_names_files_of_the_checkout_alone(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "provenance.json", lambda facts: facts["git"].update(untracked={name: "x"}))
    assert ask(reproduce.main, folder, "--check") == 2
    assert "git.untracked: expected the content of files inside the checkout" in the_line(capsys)


def test_advice_is_nothing_that_a_shell_would_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(facts: dict[str, Any]) -> None:
        facts["versions"] |= {"--index-url": "1", "torch": "1; rm -rf ~", "numpy": "1.0"}
        facts["versions"] |= {"a b": "1", "x": "-1", "$(id)": "1", "y": "1`id`"}

    edit(folder / "provenance.json", change)
    assert ask(reproduce.main, folder, "--check") == 1
    advice = [s for s in capsys.readouterr().out.splitlines() if "pip install" in s]
    assert advice == ["its packages: pip install numpy==1.0"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("results_dir", "${oc.env:HOME}"),
        ("env", {"id": "${oc.env:PATH}"}),
        ("hydra", {"searchpath": ["file:///tmp"]}),
        ("defaults", ["x"]),
        ("env", {"id": "CartPole-v1", "_target_": "os.system"}),
        ("algo", {"name": "glob(*)"}),
    ],
)
def test_a_configuration_is_values_alone(
    key: str, value: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "config.yaml", lambda config: config.update({key: value}))
    assert ask(evaluate.main, folder) == 2
    assert "config.yaml: " in the_line(capsys)
    assert ask(reproduce.main, folder, "--check") in (1, 2)
    assert str(Path.home()) not in capsys.readouterr().out.replace(str(folder), "")


# model.zip


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("entry", ["data", "policy.pth", "policy.optimizer.pth", STATISTICS])
def test_nothing_in_a_model_is_unpickled(
    entry: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = io.BytesIO()
    torch.save({"weight": Evil()}, evil)
    content = evil.getvalue()
    if entry == "data":
        with ZipFile(folder / "model.zip") as zipped:
            data = json.loads(zipped.read("data"))
        pickled = _pickled(Evil())
        evil_value = {":type:": "x", ":serialized:": pickled}
        content = json.dumps({name: evil_value for name in data} | {"num_timesteps": 5}).encode()
    replace_entry(folder / "best_model.zip", entry, content)
    status = ask(evaluate.main, folder, "--episodes", "1")
    assert status == (2 if entry in ("policy.pth", STATISTICS) else 0)
    assert not (tmp_path / "canary").exists()


def _pickled(value: object) -> str:
    import base64
    import pickle

    return base64.b64encode(pickle.dumps(value)).decode()


def test_an_agent_is_as_it_was_saved(two_runs: dict[str, Path]) -> None:
    for algo, run in two_runs.items():
        model = run / "model.zip"
        ours, theirs = load_trained(read_typed_config(run), model), AGENTS[algo].load(model)
        assert ours.num_timesteps == theirs.num_timesteps > 0
        observations = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
        normalised = ours.normalize(observations)
        assert np.array_equal(normalised, theirs.normalize(observations))
        assert np.array_equal(normalised, observations) == (algo == "dqn")
        weights = theirs.policy.state_dict()
        assert all(torch.equal(v, weights[k]) for k, v in ours.policy.state_dict().items())
        acted, expected = (a.predict(normalised, deterministic=True)[0] for a in (ours, theirs))
        assert np.array_equal(acted, expected)


def test_statistics_of_an_earlier_version_are_a_pickle(
    ppo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PPO.load(ppo / "best_model.zip").save(ppo / "best_model.zip")
    reseal(ppo)
    assert ask(evaluate.main, ppo, "--episodes", "1") == 2
    assert "as a pickle, as earlier versions wrote them" in the_line(capsys)
    assert ask(evaluate.main, ppo, "--episodes", "1", "--unpickle") == 0


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "statistics",
    [
        {},
        [],
        {"mean": [0] * 4, "var": [1] * 4},
        {"mean": [0] * 3, "var": [1] * 3, "count": 1},
        {"mean": [0] * 4, "var": [-1] * 4, "count": 1},
        {"mean": [0] * 4, "var": [float("nan")] * 4, "count": 1},
        {"mean": "x", "var": "x", "count": 1},
        {"mean": [10**400] * 4, "var": [1] * 4, "count": 1},
    ],
)
def test_statistics_that_are_none(
    statistics: Any, ppo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_entry(ppo / "best_model.zip", STATISTICS, json.dumps(statistics).encode())
    assert ask(evaluate.main, ppo, "--episodes", "1") == 2
    assert f"best_model.zip: {STATISTICS}: expected mean" in the_line(capsys)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"algo": "ppo"}, "does not fit config.yaml"),
        ({"env": "Acrobot-v1"}, "does not fit config.yaml"),
        ({"env": "Pendulum-v1"}, "algo=dqn: chooses Discrete actions"),
        ({"hidden": [8, 8]}, "does not fit config.yaml"),
        ({"hidden": [9]}, "does not fit config.yaml"),
    ],
)
def test_a_model_of_something_else(
    change: dict[str, Any],
    words: str,
    two_runs: dict[str, Path],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "algo" in change:
        other = two_runs[change["algo"]] / "best_model.zip"
        (folder / "best_model.zip").write_bytes(other.read_bytes())
        reseal(folder)
    elif "env" in change:
        edit(folder / "config.yaml", lambda config: config["env"].update(id=change["env"]))
    else:
        edit(folder / "config.yaml", lambda config: config["actor"].update(change))
    assert ask(evaluate.main, folder, "--episodes", "1") == 2
    assert words in the_line(capsys)


# env.id


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, which ``python -m`` looks into first."""
    name = "module_of_a_stranger"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_an_environment_of_the_current_folder_is_not_imported(
    module: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "config.yaml", lambda config: config["env"].update(id=f"{module}:Theirs-v0"))
    assert ask(evaluate.main, folder, "--episodes", "1") == 2
    assert f"if you trust its code, name it: --module {module}" in the_line(capsys)
    assert ask(reproduce.main, folder, "--check") == 1
    assert f"--module {module}" in capsys.readouterr().out
    assert not (tmp_path / "canary").exists()
    assert module not in sys.modules
    assert ask(evaluate.main, folder, "--episodes", "1", "--module", module) == 0
    assert (tmp_path / "canary").exists()
    capsys.readouterr()
    ask(reproduce.main, folder, "--check", "--module", module)
    assert "cannot be run here" not in capsys.readouterr().out


def test_a_named_module_that_cannot_be_imported(
    module: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for code, words in (("x = (", "SyntaxError"), ("1 / 0", "ZeroDivisionError")):
        (tmp_path / f"{module}.py").write_text(code)
        assert ask(evaluate.main, folder, "--module", module) == 2
        assert words in the_line(capsys)


@pytest.mark.parametrize(
    "env_id", ["os:X-v0", "this:X-v0", ":X-v0", "a:b:X-v0", ".x:X-v0", "no_such:X-v0", "a b:X-v0"]
)
def test_modules_that_are_of_no_installed_package(env_id: str) -> None:
    with pytest.raises(UserError, match="which belongs to no installed package"):
        check_module(env_id)


def test_installed_packages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for env_id in ("CartPole-v1", "ALE/Pong-v5", "ale_py:Pong", "gymnasium.envs:X-v0", "pip:X-v0"):
        check_module(env_id)
    check_module("mine.envs:X-v0", ["mine"])
    with pytest.raises(UserError):
        check_module("mineral:X-v0", ["mine"])
    # A module that hides an installed one, and a package that says of itself that it is installed.
    (tmp_path / "pip.py").write_text(MODULE)
    (tmp_path / "theirs.py").write_text(MODULE)
    facts = tmp_path / "theirs-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (facts / "top_level.txt").write_text("theirs\n")
    origin = {"url": f"file://{tmp_path}", "dir_info": {"editable": True}}
    (facts / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("pip", "theirs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.raises(UserError, match="which belongs to no installed package"):
            check_module(f"{name}:X-v0")


# env.wrappers


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("wrapper", "words"),
    [
        ({"name": "stable_baselines3.common.monitor:Monitor", "filename": "mine"},
         "if you trust its code with these arguments, name it: --module stable_baselines3.common."),
        ({"name": "gymnasium.wrappers:RecordVideo", "video_folder": "mine"}, "name it: --module "),
        ({"name": "RecordVideo", "video_folder": "mine"}, "RecordVideo writes files"),
        ("gymnasium.wrappers:FlattenObservation", "name it: --module gymnasium.wrappers"),
        ("module_of_a_stranger:Wrap", "name it: --module module_of_a_stranger"),
        (":Wrap", "name it: --module "),
        ("NormalizeObservation", "NormalizeObservation keeps running statistics"),
        (7, "has no name"),
        ([], "has no name"),
        ({"a": 1}, "has no name"),
    ],
)  # fmt: skip
def test_wrappers_of_a_stranger_write_nothing(
    wrapper: Any, words: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "config.yaml", lambda config: config["env"].update(wrappers=[wrapper]))
    there = set(tmp_path.rglob("*"))
    assert ask(evaluate.main, folder, "--episodes", "1") == 2
    assert words in the_line(capsys)
    assert ask(reproduce.main, folder, "--check") == 1
    assert words in capsys.readouterr().out
    assert set(tmp_path.rglob("*")) == there


def test_a_wrapper_of_a_named_module_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "gymnasium.wrappers.common"
    wrapper = {"name": f"{name}:TimeLimit", "max_episode_steps": 3}
    edit(folder / "config.yaml", lambda config: config["env"].update(wrappers=[wrapper]))
    assert ask(evaluate.main, folder, "--episodes", "1", "--module", name) == 0
    assert "in 3 steps" in capsys.readouterr().out


# the terminal


def test_nothing_that_is_shown_moves_the_cursor(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["bn"]["name"] = config["env"]["id"] = ESCAPES

    def changed(facts: dict[str, Any]) -> None:
        facts["hardware"]["cpu"] = facts["versions"][ESCAPES] = facts["kernel"] = ESCAPES

    edit(folder / "provenance.json", changed)
    (folder / "overrides.yaml").write_text(yaml.safe_dump([ESCAPES]))
    ask(reproduce.main, folder, "--check")
    shown = ["".join(capsys.readouterr())]
    edit(folder / "config.yaml", change)
    ask(evaluate.main, folder)
    shown.append("".join(capsys.readouterr()))
    (folder / "DONE").rename(folder / "FAILED")
    (folder / "FAILED").write_text(f"Traceback\nError: {ESCAPES}\n")
    write_run(tmp_path / "seed-1", {0: [1.0]}, seed=1, bn=ESCAPES)
    assert ask(compare.main, folder, tmp_path / "seed-1", "--out", "out") == 0
    shown.append("".join(capsys.readouterr()))
    shown += [(tmp_path / "out" / n).read_text() for n in ("table.md", "table.csv")]
    shown.append((tmp_path / "out" / "comparison.html").read_text())
    for text in shown:
        assert r"\x1b]0;owned\x07\x1b[31m\u202ered" in text.replace("\\\\", "\\")
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


# what evaluate says where there is nothing to evaluate


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("mark", "gone", "words"),
    [
        ("DONE", ("model.zip", "best_model.zip"), "its models were not stored, as in recorded"),
        ("FAILED", ("model.zip", "best_model.zip"), "the run failed before it saved one"),
        (
            None,
            ("model.zip", "best_model.zip"),
            "(30 of 30 steps), and this one was not stored with its",
        ),
        (None, ("best_model.zip", "evaluations.csv"), "saves it at its first evaluation; --model"),
        (None, ("best_model.zip",), "--model last is there"),
    ],
)
def test_why_there_is_no_model(
    mark: str | None,
    gone: tuple[str, ...],
    words: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if mark != "DONE":
        (folder / "DONE").unlink()
    if mark == "FAILED":
        (folder / "FAILED").write_text("x\n")
    for name in gone:
        (folder / name).unlink()
    assert ask(evaluate.main, folder) == 2
    assert words in the_line(capsys)


def test_an_unfinished_run_is_called_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "DONE").unlink()
    assert ask(evaluate.main, folder, "--episodes", "1") == 0
    assert "(the run of 30 steps is unfinished)" in capsys.readouterr().out
    (folder / "FAILED").write_text("x\n")
    assert ask(evaluate.main, folder, "--episodes", "1") == 0
    assert "(the run of 30 steps failed)" in capsys.readouterr().out


def test_the_kernel_is_decided_where_it_acts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "config.yaml", lambda config: config["kernel"].update(name="triton"))
    assert ask(evaluate.main, folder, "--episodes", "1") == 0
    assert "kernel native" in capsys.readouterr().out
    assert ask(evaluate.main, folder, "--episodes", "1", "--kernel", "naive") == 0
    assert "kernel naive" in capsys.readouterr().out


def test_a_film_is_not_written_where_a_link_leads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in (".video.mp4.tmp.mp4", "video.mp4"):
        (folder / name).symlink_to(mine)
    picture = np.zeros((32, 32, 3), np.uint8)
    monkeypatch.setattr("snnrl.experiment.video.frame_of", lambda *_: picture)
    assert ask(evaluate.main, folder, "--episodes", "1", "--video") == 0
    assert mine.read_text() == "mine"
    assert not (folder / "video.mp4").is_symlink()
