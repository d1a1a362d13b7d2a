"""``--help``: every group with its choices, every setting with its meaning."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from snnrl.experiment.config import facts
from snnrl.experiment.config.choice_files import CONFIG_DIR, choices
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.nodes import BASES, CLASSIFY, NODES, TRAIN, Root
from snnrl.experiment.config.schema import PLACES

HEADS = {
    TRAIN.name: """\
Train a spiking agent.

  python -m snnrl.train algo=td3 bn=carebn
  python -m snnrl.train env=hopper seed=3 total_steps=2e5
  python -m snnrl.train -m bn=carebn,vanilla,none 'seed=range(5)'     a sweep
  python -m snnrl.train -m 'seed=range(5)' hydra/launcher=joblib      several runs at a time
  python -m snnrl.train experiment=carebn/td3                         a published setting
  python -m snnrl.train algo=dqn env=minatar/breakout
  python -m snnrl.train algo=ppo critic=spiking bn@critic.bn=vanilla  the critic's own bn
  python -m snnrl.train plugins=[my_lab.spiking] neuron=my_lif        components of your own
  python -m snnrl.train --config-dir my_configs env=my_env            choices of your own
""",
    CLASSIFY.name: """\
Train a spiking classifier. A step is a training example.

  python -m snnrl.classify data=digits bn=bntt
  python -m snnrl.classify neuron=clif epochs=10 actor.hidden=[256,256]
  python -m snnrl.classify data=mnist data.root=/data encoder=poisson
  python -m snnrl.classify -m bn=carebn,vanilla,none 'seed=range(5)'  a sweep
  python -m snnrl.classify -m 'seed=range(5)' hydra/launcher=joblib   several runs at a time
  python -m snnrl.classify plugins=[my_lab.spiking] neuron=my_lif     components of your own
""",
}

REST = """\

The same command again resumes a run, or says that it is done. A sweep skips finished runs,
resumes interrupted ones and retries failed ones; a run that failed twice with the same error at the
same step is retried only with retry=true. Resuming unpickles the run's checkpoint, which runs
code: do not resume in a stranger's folder.
Exit status: 0 done, 1 a run failed, 2 a mistake in the command, 130/143 stopped and saved.
Hydra's own options: --hydra-help; the configuration of a command: --cfg job.
"""


def help_text(root: Root = TRAIN) -> str:
    """Return the whole help text of a command."""
    cfg = compose_config((), root)
    lines = [HEADS[root.name] + REST, "Groups (group=choice; * is the default)"]
    for group in root.choices():
        default = cfg[group].get("name") if group in cfg else None
        marked = [name + ("*" if name == default else "") for name in choices(group)]
        lines.append(f"  {group:<11} {' '.join(marked)}")
    lines.append("\nLaunchers of a sweep (hydra/launcher=choice; key=value; * is the default)")
    lines.append("  basic* (one run after another)")
    for launcher in choices("hydra/launcher"):
        lines += _launcher(launcher)
    lines.append("\nSettings (key=value; the value shown is the default)")
    settings = _settings(root.node, cfg, "", skip=tuple(root.groups()), defaults=cfg)
    lines += [line for line in settings if not root.is_derived(line.split("=")[0].strip())]
    for group in root.groups():
        lines.append("")
        lines += _group_settings(group, cfg)
    return "\n".join(lines).replace(TRAIN.step, root.step)


def _launcher(name: str) -> list[str]:
    options = OmegaConf.load(CONFIG_DIR / "hydra/launcher" / f"{name}.yaml")
    assert isinstance(options, DictConfig)
    keys = [str(key) for key in options if key != "_target_"]
    shown = [f"hydra.launcher.{key}={_value(options[key])}" for key in keys]
    return [f"  {name}", *(f"    {text}" for text in shown)]


def _group_settings(group: str, cfg: DictConfig) -> list[str]:
    if group in BASES:
        return _component_settings(group, group, cfg[group].name)
    lines: list[str] = []
    seen: set[str] = set()
    default = cfg[group].get("name")
    for choice in NODES[group]:
        values = cfg[group] if choice in ("", default) else _written(group, choice, cfg)
        for line in _settings(NODES[group][choice], values, f"{group}.", defaults=cfg):
            key = line.split()[0]
            if key not in seen:
                lines.append(line + (f" [{group}={choice}]" if choice not in ("", default) else ""))
        seen |= {line.split()[0] for line in lines}
    return lines


def _written(group: str, choice: str, cfg: DictConfig) -> DictConfig:
    """Return the values of a choice as its file has them: a hundred times as fast as composing
    them.

    :param cfg: the default configuration, on which some values depend
    """
    values = OmegaConf.load(CONFIG_DIR / group / f"{choice}.yaml")
    assert isinstance(values, DictConfig)
    found: DictConfig = OmegaConf.create({**cfg, group: values.get(group, values)})[group]
    return found


def _component_settings(place: str, group: str, default: str) -> list[str]:
    """Return the settings of every component of a group, those of the default first.

    :param place: place of the group, such as ``critic.bn``
    """
    lines: dict[str, str] = {}
    found = facts.components()[group]
    for choice in sorted(found, key=lambda name: name != default):
        written = f"{group}={choice}" if place == group else f"{group}@{place}={choice}"
        for name, setting in found[choice].settings.items():
            shown = f"{place}.{name}={_value(setting.default)}"
            line = f"  {shown:<40} {setting.meaning}"
            lines.setdefault(shown, line if choice == default else f"{line} [{written}]")
    return list(lines.values())


def _settings(
    node: Any,
    values: DictConfig,
    prefix: str,
    skip: tuple[str, ...] = (),
    *,
    defaults: DictConfig,
) -> list[str]:
    assert is_dataclass(node)
    hints = get_type_hints(node)
    lines = []
    for field in fields(node):
        if field.name in skip or field.name == "name":
            continue
        place, hint = f"{prefix}{field.name}", hints[field.name]
        if place in PLACES:
            group = PLACES[place]
            lines += _component_settings(place, group, defaults[group].name)
        elif isinstance(hint, type) and is_dataclass(hint):
            lines += _settings(hint, values[field.name], f"{place}.", defaults=defaults)
        else:
            shown = f"{place}={_value(values[field.name])}"
            lines.append(f"  {shown:<40} {field.metadata['meaning']}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, list) or OmegaConf.is_list(value):
        return "[" + ",".join(map(str, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
