from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from snnrl.analysis.run_folders import find_folders, find_runs, load_run
from snnrl.errors import UserError
from tests.run_folders import write_run

RETURNS = {0: [1.0, 3.0], 100: [5.0, 7.0]}
HEADER = "timesteps,episode,seed,return,length\n"


def test_load_run_reads_config_and_evaluations(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "seed-3", RETURNS, seed=3))
    assert run.setting("algo.batch_size") == 256
    assert run.setting("bn.name") == "carebn"
    assert (run.environment, run.seed, run.status) == ("HalfCheetah-v4", 3, "done")
    assert run.evaluations["return"].tolist() == [1.0, 3.0, 5.0, 7.0]
    assert run.statistics_error is None
    assert run.versions == {}


@pytest.mark.parametrize(
    ("mark", "status", "has_result"),
    [("DONE", "done", True), ("FAILED", "failed", False), (None, "unfinished", True)],
)
def test_status(tmp_path: Path, mark: str | None, status: str, has_result: bool) -> None:
    run = load_run(write_run(tmp_path / "run", RETURNS, status=mark))
    assert (run.status, run.has_result) == (status, has_result)


def test_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", RETURNS))
    with pytest.raises(UserError, match=r"algo\.batch_sise.*did you mean 'algo\.batch_size'"):
        run.setting("algo.batch_sise")


def test_versions_and_hardware_come_from_provenance(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "run",
        RETURNS,
        versions={"torch": "2.13.0"},
        hardware={"system": "Linux", "cpu": "one", "cpus": 2, "gpu": None},
    )
    run = load_run(folder)
    assert run.versions == {"torch": "2.13.0"}
    assert run.hardware == {"cpu": "one", "cpus": "2", "gpu": "None"}
    facts = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps({**facts, "kernel": "naive"}))
    assert load_run(folder).versions == {"torch": "2.13.0", "kernel": "naive"}


def test_versions_of_a_resumed_run_are_all_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    first = {"versions": {"torch": "1", "numpy": "2"}, "git": {"revision": "a" * 40, "diff": None}}
    last = {"versions": {"torch": "3", "numpy": "2"}, "git": {"revision": "a" * 40, "diff": "+x"}}
    text = json.dumps({**last, "hardware": {"cpu": "one"}, "resumed_from": [first]})
    (folder / "provenance.json").write_text(text)
    run = load_run(folder)
    code = run.versions.pop("code")
    assert run.versions == {"torch": "1 then 3", "numpy": "2"}
    assert code.startswith("aaaaaaaa then aaaaaaaa with changes ")
    assert run.hardware == {"cpu": "one"}


def test_settings_that_came_later_have_their_earlier_value(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", RETURNS))
    assert run.setting("env.n_envs") == 1
    assert run.setting("actor.readout") == "auto"


@pytest.mark.parametrize(
    ("traceback", "reason"),
    [
        (
            "Traceback:\n  File x\nsnnrl.errors.NonFiniteError: reward is not finite at step 3\n\n",
            "snnrl.errors.NonFiniteError: reward is not finite at step 3",
        ),
        ("", "no reason recorded"),
    ],
)
def test_reason_of_a_failure(tmp_path: Path, traceback: str, reason: str) -> None:
    folder = write_run(tmp_path / "run", RETURNS, status="FAILED")
    (folder / "FAILED").write_text(traceback)
    assert load_run(folder).reason == reason


def test_numbers_of_a_failed_run_need_not_be_whole(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS, status="FAILED")
    (folder / "evaluations.csv").write_text(HEADER + "0,0,1,nan,200\n0,1")
    run = load_run(folder)
    assert (run.status, run.evaluations.empty, run.steps) == ("failed", True, 0)


def test_clock_of_a_resumed_run_goes_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS, clock={0: 0, 10: 5, 20: 9, 30: 2, 40: 4, 50: 1})
    assert load_run(folder).clock.to_dict() == {0: 0, 10: 5, 20: 9, 30: 11, 40: 13, 50: 14}


def test_clock_that_is_not_there(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    assert load_run(folder).clock.empty
    (folder / "progress.csv").write_text("timesteps,train/loss\n0,1.0\n")
    assert load_run(folder).clock.empty


def test_run_without_an_essential_setting(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    config = folder / "config.yaml"
    whole = config.read_text()
    config.write_text(whole.replace("id: HalfCheetah-v4", "other: 1"))
    with pytest.raises(UserError, match=r"run: no key 'env\.id' in its configuration"):
        load_run(folder)
    config.write_text(whole.replace("seed: 0", "seed: first"))
    with pytest.raises(UserError, match="run: seed=first: expected an integer"):
        load_run(folder)


def test_run_that_lost_its_configuration_is_not_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path / "seed-0", RETURNS)
    (write_run(tmp_path / "seed-1", RETURNS) / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"seed-1: half-written or damaged, it has no config\.yaml"):
        find_runs([tmp_path])


def test_run_that_has_just_begun_is_not_passed_over(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {}, status=None)
    (folder / "evaluations.csv").unlink()
    (folder / ".lock").write_text("")
    (run,) = find_runs([tmp_path])
    assert (run.status, run.has_result) == ("unfinished", False)


@pytest.mark.parametrize("mark", ["FAILED", None])
def test_run_that_ended_before_its_first_evaluation(tmp_path: Path, mark: str | None) -> None:
    folder = write_run(tmp_path / "run", {}, status=mark, versions={})
    (folder / "evaluations.csv").unlink()
    (run,) = find_runs([tmp_path])
    assert run.evaluations.empty
    assert not run.has_result


def test_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    write_run(tmp_path / "seed-0", RETURNS)
    with pytest.raises(UserError, match="no such folder; did you mean 'seed-0'"):
        load_run(tmp_path / "sed-0")
    with pytest.raises(UserError, match="no such folder; did you mean 'seed-0'"):
        find_runs([tmp_path / "sed-0"])


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        load_run(tmp_path)
    with pytest.raises(UserError, match="no run in or below it"):
        find_runs([tmp_path])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty, expected the header timesteps"),
        (HEADER, "no evaluation in it"),
        (HEADER + "0,0,1,2.0,200\n0,1,1,2.", "half-written, its last line has no end"),
        (HEADER + "0,0,1,2.0,200\n0,1,1,\n", "line 3: expected five finite numbers"),
        (HEADER + "0,0,1,nan,200\n", "line 2: expected five finite numbers"),
        (HEADER + "0,0,1,much,200\n", "line 2: expected five finite numbers"),
        (HEADER + "0,0,1,2.0,200,1,1\n0,1\n", "expected"),
        (HEADER + "0,0,1,2.0,9\n0,1,1,2.0,9\n5,0,1,2.0,9\n", "step 5 has 1 of 2 episodes"),
        (HEADER + "0,0,1,2.0,9\n0,0,1,2.0,9\n", "line 3: an episode that an earlier line has"),
        ("timesteps,episode,seed,length\n0,0,1,9\n", "no column 'return'"),
    ],
)
def test_bad_evaluations(tmp_path: Path, content: str, message: str) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    (folder / "evaluations.csv").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_run(folder)
    assert str(folder / "evaluations.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_done_without_evaluations(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS, versions={})
    (folder / "evaluations.csv").unlink()
    with pytest.raises(UserError, match="not there, though the run is done"):
        load_run(folder)


@pytest.mark.parametrize(
    ("content", "returns"),
    [
        ("", {}),
        (HEADER, {}),
        (HEADER + "0,0,1,2.0,9\n0,1,1,2", {0: [2.0]}),
        (HEADER + "0,0,1,2.0,9\n0,1,1,4.0,9\n5,0,1,7.0,9\n", {0: [2.0, 4.0]}),
        (HEADER + "0,0,1,2.0,9\n0,1,1,4.0,9\n5,0,1,7.0,9\n5,1,1,", {0: [2.0, 4.0]}),
    ],
)
def test_what_a_run_is_just_writing_does_not_count(
    tmp_path: Path, content: str, returns: dict[int, list[float]]
) -> None:
    folder = write_run(
        tmp_path / "run", RETURNS, status=None, errors={0: [1.0], 9: [2.0]}, clock={0: 1, 9: 2}
    )
    (folder / "evaluations.csv").write_text(content)
    for name in ("progress.csv", "statistics_error.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text(text[:-3])
    run = load_run(folder)
    found = run.evaluations.groupby("timesteps")["return"].agg(list).to_dict()
    assert found == returns
    assert run.clock.to_dict() == {0: 1.0}
    assert run.statistics_error is not None
    assert run.statistics_error["timesteps"].tolist() == [0, 0, 0, 9, 9]


def test_an_earlier_evaluation_without_all_its_episodes_is_damage(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS, status=None)
    (folder / "evaluations.csv").write_text(HEADER + "0,0,1,2.0,9\n5,0,1,2.0,9\n5,1,1,2.0,9\n")
    with pytest.raises(UserError, match="step 0 has 1 of 2 episodes"):
        load_run(folder)


@pytest.mark.parametrize("name", ["config.yaml", "evaluations.csv", "provenance.json"])
def test_a_file_that_is_no_text(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    (folder / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=rf"{name}: expected text "):
        load_run(folder)


def test_a_run_of_which_only_its_configuration_is_left(tmp_path: Path) -> None:
    write_run(tmp_path / "seed-0", RETURNS)
    (write_run(tmp_path / "seed-1", RETURNS, status=None) / "evaluations.csv").unlink()
    with pytest.raises(UserError, match="seed-1: half-written or damaged, it has neither"):
        find_runs([tmp_path])


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="a: a file, expected a run folder or one above it"):
        find_runs([tmp_path / "a"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1", r"config\.yaml: cannot be read, expected YAML \("),
        ("- 1\n", r"config\.yaml: expected"),
        ("", r"config\.yaml: expected"),
    ],
)
def test_bad_config(tmp_path: Path, content: str, words: str) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    (folder / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("git", ['"x"', "3", '{"revision": 3}', "null"])
def test_provenance_without_a_revision_that_one_can_read(tmp_path: Path, git: str) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    (folder / "provenance.json").write_text(f'{{"versions": {{"torch": "1"}}, "git": {git}}}')
    assert load_run(folder).versions["torch"] == "1"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", r"provenance\.json: cannot be read, expected JSON \("),
        ("[]", r"provenance\.json: expected"),
        ('{"versions": 3}', r"provenance\.json: expected"),
        ('{"resumed_from": [3]}', r"provenance\.json: expected"),
    ],
)
def test_bad_provenance(tmp_path: Path, content: str, words: str) -> None:
    folder = write_run(tmp_path / "run", RETURNS)
    (folder / "provenance.json").write_text(content)
    with pytest.raises(UserError, match=words):
        _ = load_run(folder).versions


def test_bad_statistics_error(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", RETURNS, errors={0: [1.0]})
    file = folder / "statistics_error.csv"
    file.write_text(file.read_text().replace("1e9", "much"))
    with pytest.raises(UserError, match="column 'mean_error': expected numbers only"):
        _ = load_run(folder).statistics_error


def test_find_runs_below_folders_and_by_patterns_each_once(tmp_path: Path) -> None:
    a = write_run(tmp_path / "cheetah" / "a=1" / "seed-0", RETURNS)
    b = write_run(tmp_path / "cheetah" / "b" / "seed-0", RETURNS)
    c = write_run(tmp_path / "walker" / "b" / "seed-1", RETURNS)
    wandb = c / "wandb" / "files"
    wandb.mkdir(parents=True)
    (wandb / "config.yaml").write_text("a: 1\n")
    assert [run.name for run in find_runs([tmp_path, a])] == [str(a), str(b), str(c)]
    assert [run.name for run in find_runs([str(tmp_path / "*" / "b")])] == [str(b), str(c)]
    assert [run.name for run in find_runs([c])] == [str(c)]


def test_folder_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "sizes=[64]" / "seed-0", RETURNS)
    assert [run.name for run in find_runs([tmp_path / "sizes=[64]"])] == [str(folder)]


def test_pattern_without_a_match(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder matches this pattern"):
        find_runs([tmp_path / "*"])


# Links


def test_runs_and_folders_behind_links_are_found(tmp_path: Path) -> None:
    disk, results = tmp_path / "disk", tmp_path / "results"
    write_run(results / "env" / "a" / "seed-0", RETURNS)
    one = write_run(disk / "one", RETURNS, seed=1)
    write_run(disk / "b" / "seed-2", RETURNS, seed=2)
    (results / "env" / "a" / "seed-1").symlink_to(one)
    (results / "env" / "b").symlink_to(disk / "b")
    (disk / "b" / "more").symlink_to(write_run(tmp_path / "far" / "seed-3", RETURNS, seed=3))
    found, left_out = find_folders([results])
    expected = ["env/a/seed-0", "env/a/seed-1", "env/b/more", "env/b/seed-2"]
    assert sorted(str(folder.relative_to(results)) for folder in found) == expected
    assert sorted(run.seed for run in find_runs([results])) == [0, 1, 2, 3]
    assert left_out == []


def test_a_run_behind_several_links_is_one_under_its_own_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "b" / "seed-0", RETURNS)
    (tmp_path / "a").symlink_to(run.parent)
    (tmp_path / "b" / "latest").symlink_to("seed-0")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert [found.name for found in find_runs([tmp_path])] == [str(run)]
    assert [found.name for found in find_runs([tmp_path / "a", tmp_path])] == [
        str(tmp_path / "a" / "seed-0")
    ]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    root = tmp_path / "above" / "root"
    run = write_run(root / "a" / "seed-0", RETURNS)
    write_run(tmp_path / "above" / "beside" / "seed-1", RETURNS, seed=1)
    (run / "self").symlink_to(run)
    (root / "a" / "root").symlink_to(root)
    (root / "x").symlink_to(root / "y")
    (root / "y").symlink_to(root / "x")
    (root / "up").symlink_to("..")
    found, left_out = find_folders([root])
    assert found == [run]
    assert left_out == [
        f"left out, a link to a folder above it: {root / 'up'}",
        f"left out, a link to nothing: {root / 'x'}",
        f"left out, a link to nothing: {root / 'y'}",
    ]


def test_links_of_a_run_are_its_own(tmp_path: Path) -> None:
    """One to a data set, say, may have millions of files behind it."""
    run = write_run(tmp_path / "runs" / "seed-0", RETURNS)
    write_run(tmp_path / "elsewhere" / "seed-1", RETURNS, seed=1)
    (run / "data").symlink_to(tmp_path / "elsewhere")
    (run / "gone").symlink_to(tmp_path / "nowhere")
    assert find_folders([tmp_path / "runs"]) == ([run], [])


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "seed-0", RETURNS)
    (tmp_path / "seed-1").symlink_to(tmp_path / "gone")
    (run / "wandb").mkdir()
    (run / "wandb" / "debug.log").symlink_to("gone")
    named = [f"left out, a link to nothing: {tmp_path / 'seed-1'}"]
    assert find_folders([tmp_path]) == ([run], named)
    assert find_folders([tmp_path / "seed-*"]) == ([run], named)


def test_a_run_whose_files_are_links(tmp_path: Path) -> None:
    run = write_run(tmp_path / "real" / "seed-0", RETURNS)
    copy = tmp_path / "copy" / "seed-0"
    copy.mkdir(parents=True)
    for file in run.iterdir():
        (copy / file.name).symlink_to(file)
    assert [found.name for found in find_runs([tmp_path / "copy"])] == [str(copy)]
    (run / "config.yaml").unlink()
    with pytest.raises(UserError, match="seed-0: half-written or damaged, it has no config"):
        find_runs([tmp_path / "copy"])


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "a" / "seed-0", RETURNS)
    (tmp_path / "b").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    named = [f"left out, cannot be read (Permission denied): {tmp_path / 'b'}"]
    assert find_folders([tmp_path]) == ([run], named)
