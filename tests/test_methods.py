"""Every method with every algorithm: the table in ``docs/methods.md`` says what happens here.

``python -m scripts.methods_table`` writes the table anew.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.methods_table import COLUMNS, KERNELS, PAGE, RECORD, Cell, methods, page, read_table
from snnrl.errors import UserError
from tests.agents.helpers import small
from tests.agents.ppo_helpers import small_ppo
from tests.envs import MatchImage

TABLE = read_table(PAGE.read_text())
CONV = dict(channels=[4, 6], kernels=[4, 2], strides=[2, 1])
CELLS = [Cell(group, name, column) for group, name in methods() for column in COLUMNS]


def agent_of(group: str, name: str, algorithm: str, *, images: bool, kernel: str) -> Any:
    """Return an agent whose spiking parts, a critic included, have the method."""
    of_both: dict[str, Any] = {"losses": [name]} if group == "loss" else {}
    of_both |= {"regulation": name} if group == "regulation" else {}
    chosen: dict[str, Any] = (of_both or {group: name}) | {"kernel": kernel}
    if images:
        chosen |= dict(conv=CONV) | ({} if group == "encoder" else dict(encoder="direct"))
    env = MatchImage() if images else None
    bn = name if group == "bn" else "carebn"
    if algorithm != "DQN":
        chosen["critic"] = dict(name="spiking", bn=bn, time_steps=3, **of_both)
    if algorithm == "PPO":
        return small_ppo(env, policy_kwargs=chosen)
    variant = algorithm.lower() if algorithm == "DQN" else f"{algorithm.lower()}-spiking"
    return small(variant, env, policy_kwargs=chosen)


def outcome(cell: Cell) -> str:
    """Return ``yes`` if an agent with the method learns, ``no`` if it is refused."""
    kernel = cell.column if cell.column in KERNELS else "auto"
    algorithm, _, images = ("TD3" if cell.column in KERNELS else cell.column).partition(", ")
    if kernel == "compile":
        torch._dynamo.reset()  # A process compiles a limited number of networks.
    try:
        agent = agent_of(*cell[:2], algorithm, images=bool(images), kernel=kernel)
    except UserError as refusal:
        assert "\n" not in str(refusal)
        return "no"
    before = {name: copy.deepcopy(part.state_dict()) for name, part in agent.parts().items()}
    assert len(before) == (1 if algorithm == "DQN" else 2)
    agent.learn(48)
    for name, part in agent.parts().items():
        after = part.state_dict()
        assert all(
            torch.isfinite(value).all() for value in after.values() if value.is_floating_point()
        )
        weights = [key for key in after if key.endswith("weight")]
        still = [key for key in weights if torch.equal(after[key], before[name][key])]
        # Where statistics are still far off, or none are there, layers may be silent.
        silent = cell.group == "bn" and (algorithm == "PPO" or cell.name == "none")
        assert len(still) < len(weights) if silent else still == []
    return "yes"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, marks=[pytest.mark.slow] if cell.column == "compile" else [])
        for cell in CELLS
    ],
    ids="-".join,
)
def test_the_table_says_what_happens(cell: Cell) -> None:
    seen = outcome(cell)
    if record := os.environ.get(RECORD):
        with Path(record).open("a") as file:
            file.write("\t".join([*cell, seen]) + "\n")
    else:
        assert seen == TABLE[cell]


def test_the_table_has_every_method() -> None:
    if RECORD not in os.environ:
        assert set(TABLE) == set(CELLS)
        text = PAGE.read_text()
        assert page(TABLE, text) == text
