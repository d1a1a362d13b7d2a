"""A card of a trained agent: what it is, what it returns, what it costs, how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml

from snnrl.deploy.cost_layers import ENERGIES, Cost
from snnrl.text import as_markdown, one_line

TAGS = ("reinforcement-learning", "deep-reinforcement-learning", "spiking-neural-network", "snnrl")


class CardFacts(NamedTuple):
    """What a card says.

    :param env: id of the environment
    :param algo: name of the algorithm
    :param label: what stands in the title, such as ``TD3, lif, bn=carebn``
    :param steps: environment steps that the agent has learned from
    :param seed: of the run
    :param returns: of the episodes that were played for the card
    :param episodes_seed: their seed
    :param cost: of an action in these episodes
    :param overrides: the command's settings
    :param versions: packages
    :param revision: of the code; ``None``: unknown
    :param model: file of the agent
    :param has_picture: whether the learning curve is beside the card
    :param has_film: whether a film is
    :param unfinished: how far a run is that is not done; empty if it is
    """

    env: str
    algo: str
    label: str
    steps: int
    seed: int
    returns: Sequence[float]
    episodes_seed: int
    cost: Cost
    overrides: Sequence[str]
    versions: Mapping[str, str]
    revision: str | None
    model: str
    has_picture: bool
    has_film: bool
    unfinished: str = ""


def card(facts: CardFacts) -> str:
    """Return the card as markdown, with the metadata that model hubs read in front."""
    return "".join(["---\n", _metadata(facts), "---\n\n", *_text(facts)])


def _mean(returns: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and sample deviation; ``None``: of one episode."""
    if len(returns) == 1:
        return returns[0], None
    return mean(returns), stdev(returns)


def _metadata(facts: CardFacts) -> str:
    """Return model metadata as the hub of Hugging Face takes it.

    Source: its model card specification, "model-index".
    """
    average, deviation = _mean(facts.returns)
    value = f"{average:.2f}" if deviation is None else f"{average:.2f} +/- {deviation:.2f}"
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": facts.env, "type": facts.env},
        "metrics": [
            {
                "type": "mean_reward",
                "value": value,
                "name": "mean_reward",
                "verified": False,
            }
        ],
    }
    metadata: dict[str, Any] = {
        "library_name": "snnrl",
        "tags": [facts.env, *TAGS],
        "model-index": [{"name": facts.algo.upper(), "results": [result]}],
    }
    text: str = yaml.safe_dump(metadata, sort_keys=False)
    return text


def _text(facts: CardFacts) -> list[str]:
    average, deviation = _mean(facts.returns)
    total = facts.cost.total
    episodes = f"{len(facts.returns)} episodes" if deviation is not None else "one episode"
    spread = "" if deviation is None else f", sample deviation {deviation:.2f}"
    said = [
        f"# {facts.label} on {facts.env}\n\n",
        f"A spiking agent, trained by snnrl with {facts.algo.upper()} for {facts.steps:,} "
        f"environment steps, seed {facts.seed}{facts.unfinished}.\n\n",
        f"**Return {average:.2f}**{spread}, {episodes} of the deterministic "
        f"policy (seed {facts.episodes_seed}). One seed of training: it says nothing of how "
        "others end.\n\n",
    ]
    if facts.has_picture:
        said.append("![Return over training](curve.png)\n\n")
    if facts.has_film:
        said.append("A film of one episode: [replay.mp4](replay.mp4)\n\n")
    said += ["## What an action costs\n\n"]
    said.append("| | spiking | ordinary network of the same sizes |\n|---|---|---|\n")
    said.append(
        f"| firing rate | {_share(total.rate)} | - |\n"
        f"| accumulations (spikes times fan-out) | {total.acs:,.0f} | - |\n"
        f"| multiplications with accumulation | {total.macs + total.normalisation_macs:,.0f} | "
        f"{_reference(facts.cost, 'macs')} |\n"
    )
    for each in ENERGIES:
        other = "-" if facts.cost.reference is None else f"{facts.cost.reference.energy(each):,.1f}"
        said.append(
            f"| energy, nJ ({each.mac:g} pJ a MAC, {each.ac:g} pJ an accumulation) | "
            f"{total.energy(each):,.1f} | {other} |\n"
        )
    said += ["\n", *(f"- {note}\n" for note in facts.cost.notes), "\n"]
    said += ["## How it was made\n\n", "```\npython -m snnrl.train"]
    said += [f" {shlex.quote(one_line(each))}" for each in facts.overrides]
    said.append("\n```\n\n")
    if facts.revision is not None:
        said.append(f"Revision {as_markdown(str(facts.revision))}. ")
    versions = (f"{as_markdown(str(k))} {as_markdown(str(v))}" for k, v in facts.versions.items())
    said.append(", ".join(versions))
    said.append(".\n\n`config.yaml` has every setting, `provenance.json` the versions.\n\n")
    said += ["## How to use it\n\n", USE.format(model=facts.model)]
    return said


USE = """`policy.npz` needs numpy and `snnrl/deploy/runtime.py`, one file:

```python
from snnrl.deploy.runtime import load

action = load("policy.npz").act(observation)
```

`{model}` is the agent itself. `python -m snnrl.evaluate FOLDER` plays it, and runs no code
of the folder.
"""


def _reference(cost: Cost, field: str) -> str:
    return "-" if cost.reference is None else f"{getattr(cost.reference, field):,.0f}"


def _share(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"
