"""Mistakes in Python that are answered in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnrl.agents import DQN, PPO, SAC, TD3
from snnrl.errors import UserError
from snnrl.nn.regulations import Regulation

SMALL: dict[str, Any] = dict(policy_kwargs=dict(kernel="naive", net_arch=[4], time_steps=2))


@pytest.mark.parametrize(
    ("agent", "given", "refused"),
    [
        (
            TD3,
            dict(learning_strats=9),
            r"^learning_strats: no such argument; did you mean 'learning_starts'\?$",
        ),
        (PPO, dict(n_step=9), r"^n_step: no such argument; did you mean 'n_steps'\?$"),
        (TD3, dict(kernel="naive"), r"^kernel: .*expected policy_kwargs=dict\(kernel=...\)$"),
        (TD3, dict(bn="none"), r"^bn: .*expected policy_kwargs=dict\(bn=...\)$"),
        (TD3, dict(batch_size=-1), r"^batch_size=-1: expected at least 1$"),
        (SAC, dict(buffer_size=0), r"^buffer_size=0: expected at least 1$"),
        (
            TD3,
            dict(policy_kwargs=dict(optimizer_class="adam")),
            r"^policy_kwargs=optimizer_class=adam: expected a class, such as torch.optim",
        ),
    ],
)
def test_arguments_of_an_agent(agent: Any, given: dict[str, Any], refused: str) -> None:
    with pytest.raises(UserError, match=refused) as found:
        agent("SpikingPolicy", "Pendulum-v1", **{**SMALL, **given})
    assert "\n" not in str(found.value)


def test_the_file_of_another_agent(tmp_path: Path) -> None:
    file = tmp_path / "td3.zip"
    TD3("SpikingPolicy", "Pendulum-v1", buffer_size=9, **SMALL).save(file)
    for agent in (SAC, DQN, PPO):
        refused = (
            rf"^{file}: holds an agent of TD3; expected TD3\.load, not {agent.__name__}\.load$"
        )
        with pytest.raises(UserError, match=refused):
            agent.load(file)


def test_an_argument_of_load_names_the_nearest_only() -> None:
    with pytest.raises(UserError) as found:
        TD3.load("none.zip", kernl="naive")
    assert str(found.value) == "load=kernl: no such argument; did you mean 'kernel'?"
    with pytest.raises(UserError, match=r"^load=xyzzy: no such argument; help\(TD3\) lists them$"):
        TD3.load("none.zip", xyzzy="naive")


def test_regulation_none_is_none() -> None:
    kwargs = dict(regulation="none", critic=dict(name="spiking", regulation="none"))
    agent = TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs={**SMALL["policy_kwargs"], **kwargs})
    assert not any(isinstance(module, Regulation) for module in agent.policy.modules())
