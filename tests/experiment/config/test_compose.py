from __future__ import annotations

import dataclasses
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_type_hints
from unittest.mock import patch

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config.choice_files import CONFIG_DIR, choices
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.describe import as_text, describe_all
from snnrl.experiment.config.facts import FILE
from snnrl.experiment.config.help import help_text
from snnrl.experiment.config.nodes import CLASSIFY, NODES, PLACES, TRAIN, setting_types
from snnrl.experiment.config.overrides import check_override
from snnrl.experiment.config.schema import RunConfig
from snnrl.experiment.config.validate import validate
from snnrl.experiment.run import run
from snnrl.nn.norm import make_strategy
from snnrl.nn.norm.strategy import Schedule
from snnrl.nn.registry import CONTEXT, component, names
from snnrl.nn.registry import GROUPS as KINDS
from snnrl.nn.threshold import Threshold
from snnrl.ops.backend import KERNELS
from snnrl.parameters import parameters_of
from tests.experiment.helpers import arguments

GROUPS = TRAIN.choices()

CHOICES = [(group, choice) for group in GROUPS for choice in choices(group)]

PUBLIC_KEYS = [
    "seed",
    "total_steps",
    "device",
    "results_dir",
    "algo.learning_starts",
    "algo.batch_size",
    "algo.learning_rate",
    "algo.critic_learning_rate",
    "algo.critic_weight_decay",
    "evaluation.every",
    "evaluation.episodes",
    "bn.recalibrate_every",
    "bn.recalibrate_batches",
    "checkpoint.every",
    "tracking.mode",
    "env.id",
]


NEEDS = {
    ("critic", "ann_late"): ["algo=ddpg"],
    ("critic", "none"): ["algo=dqn"],
    ("conv", "nature"): ["env=atari/pong", "algo=dqn"],
    ("conv", "minatar"): ["env=minatar/breakout", "algo=dqn"],
    ("conv", "vgg9"): ["env=atari/pong", "algo=dqn"],
}


def companions(group: str, choice: str) -> list[str]:
    """What a choice needs that it does not bring itself."""
    needs = NEEDS.get((group, choice), [])
    if group == "env" and choice.split("/")[0] in ("cartpole", "acrobot", "minatar", "atari"):
        needs = ["algo=dqn"]
    return [f"{group}={choice}", *needs]


def test_every_folder_of_configs_is_a_group() -> None:
    folders = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}
    groups = {*TRAIN.choices(), *CLASSIFY.choices()}
    assert folders == {*groups, "hydra"}
    assert all(choices(group) for group in groups)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_fits(group: str, choice: str) -> None:
    if choice.startswith("atari") or "env=atari/pong" in companions(group, choice):
        pytest.importorskip("ale_py")
    if "minatar" in choice:
        pytest.importorskip("minatar")
    cfg = compose_config(companions(group, choice))
    if choice == "triton" and not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"^kernel=triton: needs a CUDA device"):
            validate(cfg)
    elif choice == "frames":
        # No environment here observes them; python -m snnrl.classify has them.
        with pytest.raises(UserError, match=r"^encoder=frames: takes frames"):
            validate(cfg)
    else:
        validate(cfg)
    if group not in ("env", "experiment"):
        assert cfg[group].name == choice


def mixtures() -> list[list[str]]:
    """Few configurations in which every choice of every group that changes the agent occurs."""
    groups = ["neuron", "surrogate", "encoder", "bn", "loss", "regulation", "tracking", "target"]
    columns = {group: [c for c in choices(group) if c != "frames"] for group in groups}
    rows = zip_longest(*columns.values())
    return [
        [
            f"{group}={choice or columns[group][0]}"
            for group, choice in zip(groups, row, strict=True)
        ]
        for row in rows
    ] + [["actor=ann"]]


def test_mixtures_cover_every_choice() -> None:
    covered = {tuple(text.split("=")) for mixture in mixtures() for text in mixture}
    elsewhere = {"env", "kernel", "experiment", "algo", "critic", "actor", "conv"}
    needed = {c for c in CHOICES if c[0] not in elsewhere} - {("encoder", "frames")}
    assert needed <= covered


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("env", "mixture"),
    [
        *(("inverted_pendulum", mixture) for mixture in mixtures()),
        ("pendulum", mixtures()[0]),
        ("pendulum", ["actor=ann"]),
    ],
)
def test_every_choice_learns_a_few_steps(env: str, mixture: list[str], tmp_path: Path) -> None:
    if mixture == ["actor=ann"] or {"bn=none", "bn=layernorm", "bn=groupnorm"} & {*mixture}:
        mixture = [*mixture, "bn.recalibrate_every=null"]
    short = ["total_steps=12", "algo.learning_starts=4", "evaluation.episodes=1"]
    overrides = arguments(tmp_path, *mixture, *short, f"env={env}")
    assert_runs(overrides)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("preset", choices("experiment"))
def test_every_preset_learns_a_few_steps(preset: str, tmp_path: Path) -> None:
    algo = compose_config([f"experiment={preset}"]).algo.name
    small = {
        "dqn": ["algo.batch_size=4", "algo.learning_starts=4", "env=cartpole"],
        "ppo": ["algo.n_steps=4", "algo.batch_size=4", "env=inverted_pendulum"],
    }
    overrides = [
        f"experiment={preset}",
        *small.get(algo, ["algo.learning_starts=4", "env=inverted_pendulum"]),
        "total_steps=6",
        "evaluation.episodes=1",
        "tracking.mode=disabled",
        f"results_dir={tmp_path}",
    ]
    assert_runs(overrides)


def assert_runs(overrides: list[str]) -> None:
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        result = run(compose_config(overrides), overrides)
    assert (result.folder / "DONE").exists()


@pytest.mark.parametrize(
    "node", [RunConfig, *dict.fromkeys(n for nodes in NODES.values() for n in nodes.values())]
)
def test_every_setting_has_a_meaning(node: type) -> None:
    for field in dataclasses.fields(node):
        if not dataclasses.is_dataclass(get_type_hints(node)[field.name]):
            assert len(field.metadata["meaning"].split()) >= 2, field.name


def test_nodes_name_the_choices() -> None:
    for group, nodes in NODES.items():
        if "" not in nodes:
            assert sorted(nodes) == choices(group)


def test_public_keys_exist() -> None:
    assert set(PUBLIC_KEYS) <= setting_types().keys()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("bn", choices("bn"))
def test_bn_files_are_the_strategies_of_python(bn: str) -> None:
    cfg = compose_config([f"bn={bn}", "critic=spiking", f"bn@critic.bn={bn}"])
    published = {"name": bn, **make_strategy(bn).settings()}
    assert OmegaConf.to_container(cfg.bn) == published
    assert OmegaConf.to_container(cfg.critic.bn) == published


def test_names_are_those_of_python() -> None:
    assert choices("bn") == names("norm")
    for group in ("neuron", "surrogate", "encoder"):
        assert choices(group) == names(group)
    for group in ("loss", "regulation"):
        assert choices(group) == sorted(["none", *names(group)])
    assert choices("kernel") == sorted(KERNELS)


COMPONENTS = [(group, name) for kind, group in KINDS.items() for name in names(kind)]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_files_are_the_defaults_of_python(group: str, name: str) -> None:
    chosen = component({"bn": "norm"}.get(group, group), name)
    parameters = parameters_of(chosen.maker)
    for key in CONTEXT[{"bn": "norm"}.get(group, group)]:
        parameters.pop(key, None)
    if group == "neuron":
        parameters["threshold"] = parameters_of(Threshold)["threshold"]
    if group == "bn":
        parameters |= parameters_of(Schedule)
    expected = {key: p.default for key, p in parameters.items()} | chosen.presets
    assert OmegaConf.to_container(compose_config([f"{group}={name}"])[group]) == {
        "name": name,
        **expected,
    }


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_files_hold_what_differs_from_the_constructor(group: str, name: str) -> None:
    chosen = component({"bn": "norm"}.get(group, group), name)
    written = OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml")
    assert isinstance(written, DictConfig)
    assert written.keys() == {"defaults", "name", *chosen.presets}
    assert written.name == name


def test_the_generated_settings_are_current() -> None:
    assert as_text(describe_all()) == FILE.read_text(), "expected `make settings` to be run"


# The published settings: TD3 and DDPG, https://arxiv.org/abs/2509.23791

SHARED: dict[str, Any] = {
    "total_steps": 1_025_000,
    "algo.learning_starts": 25_000,
    "algo.batch_size": 256,
    "algo.buffer_size": 1_000_000,
    "algo.gamma": 0.99,
    "algo.train_freq": 1,
    "algo.gradient_steps": 1,
    "algo.exploration_noise": 0.1,
    "actor.name": "spiking",
    "actor.hidden": [256, 256],
    "actor.population": 10,
    "actor.time_steps": 5,
    "encoder.name": "population",
    "encoder.population": 10,
    "neuron.threshold": 0.5,
    "neuron.decay": 0.75,
    "neuron.detach_reset": False,
    "surrogate.name": "rectangular",
    "bn.name": "carebn",
    "bn.rule": "confidence",
    "bn.recalibrate_every": 5000,
    "bn.recalibrate_batches": 100,
    "bn.smoothing": 0.8,
    "bn.effective_n": None,
    "bn.eps": 1e-5,
    "bn.target_stats": "soft",
    "evaluation.every": 5000,
    "evaluation.episodes": 10,
}
TD3: dict[str, Any] = {
    "algo.name": "td3",
    "algo.learning_rate": 3e-4,
    "algo.tau": 0.005,
    "algo.policy_delay": 2,
    "algo.target_policy_noise": 0.2,
    "algo.target_noise_clip": 0.5,
    "critic.name": "ann",
    "critic.hidden": [256, 256],
}
DDPG: dict[str, Any] = {
    "algo.name": "ddpg",
    "algo.learning_rate": 1e-4,
    "algo.critic_learning_rate": 1e-3,
    "algo.critic_weight_decay": 0.01,
    "algo.tau": 0.001,
    "critic.name": "ann_late",
    "critic.hidden": [400, 300],
}
CLIF = {"neuron.name": "clif", "neuron.current_decay": 0.5}


def assert_holds(cfg: DictConfig, expected: dict[str, Any]) -> None:
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("env", ["ant", "half_cheetah", "hopper", "walker2d"])
def test_published_td3(env: str) -> None:
    cfg = compose_config(["experiment=carebn/td3", f"env={env}"])
    assert_holds(cfg, {**SHARED, **TD3, **CLIF})
    assert cfg.env.id.endswith("-v4")


def test_published_ddpg() -> None:
    assert_holds(compose_config(["experiment=carebn/ddpg"]), {**SHARED, **DDPG, **CLIF})


def test_the_main_command_alone_is_the_published_setting() -> None:
    expected = {**SHARED, **TD3, "neuron.name": "lif", "env.id": "HalfCheetah-v4", "seed": 0}
    assert_holds(compose_config(), expected)
    assert_holds(compose_config(["algo=td3", "bn=carebn"]), expected)


def test_the_command_line_wins_over_a_preset() -> None:
    cfg = compose_config(["experiment=carebn/ddpg", "neuron=lif", "total_steps=7"])
    assert (cfg.neuron.name, cfg.total_steps, cfg.algo.name) == ("lif", 7, "ddpg")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("total_steps=1e6", "total_steps=1000000"),
        ("total_steps=2.5e4", "total_steps=25000"),
        ("total_steps=2e4,3e4", "total_steps=20000,30000"),
        ("total_steps=range(1e3,3e3,1e3)", "total_steps=range(1000,3000,1000)"),
        ("total_steps=10.0", "total_steps=10"),
        ("total_steps=1_000", "total_steps=1_000"),
        ("total_steps=1.5", "total_steps=1.5"),
        ("total_steps=1.2.3", "total_steps=1.2.3"),
        ("total_steps=1e999", "total_steps=1e999"),
        ("seed=12345678901234567891", "seed=12345678901234567891"),
        ("actor.hidden=[1e2,2e2]", "actor.hidden=[100,200]"),
        ("bn.recalibrate_every=1e4", "bn.recalibrate_every=10000"),
        ("algo.learning_rate=1e-3", "algo.learning_rate=1e-3"),
        ("bn.effective_n=1e3", "bn.effective_n=1e3"),
        ("results_dir=runs/1e3", "results_dir=runs/1e3"),
    ],
)
def test_integral_floats_are_integers(given: str, taken: str) -> None:
    assert check_override(given) == taken


def test_a_group_has_one_default_wherever_it_stands() -> None:
    """``--help`` shows no other."""
    cfg = compose_config(["critic=spiking"])
    for place, group in PLACES.items():
        # An empty place is null where a group has a choice of that meaning.
        assert (OmegaConf.select(cfg, f"{place}.name") or "none") == cfg[group].name
    assert cfg.critic.bn.name == "carebn"


def test_help_has_every_group_choice_and_setting() -> None:
    text = help_text()
    words = set(text.replace("*", " ").split())
    assert {choice for _, choice in CHOICES} <= words
    assert set(GROUPS) <= words
    keys = {word.split("=")[0] for word in words}
    assert {key for key in setting_types() if not key.endswith(".name")} <= keys
    assert "seed=0" in words
    assert "algo.policy_delay=2" in words
    for line in text.splitlines():
        assert not line.startswith("  seed=") or "random" in line


@pytest.mark.slow
def test_help_shows_what_differs_between_choices() -> None:
    lines = [line for line in help_text().splitlines() if "algo.tau=" in line]
    assert ["0.005" in line for line in lines] == [True, False]
    assert lines[1].endswith("[algo=ddpg]")


# Companions


def chosen(*overrides: str) -> dict[str, str]:
    cfg = compose_config(overrides)
    groups = ("algo", "actor", "critic", "encoder", "conv", "bn")
    return {"env": cfg.env.id, **{group: cfg[group].name for group in groups}}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["algo=dqn"], {"env": "CartPole-v1", "encoder": "direct", "critic": "none"}),
        (["algo=ddpg"], {"critic": "ann_late", "encoder": "population"}),
        (["actor=ann"], {"bn": "none"}),
        (["env=minatar/breakout"], {"encoder": "direct", "conv": "minatar"}),
        (["env=atari/pong"], {"encoder": "direct", "conv": "nature"}),
        # Both bring direct coding.
        (
            ["algo=dqn", "env=minatar/breakout"],
            {"env": "MinAtar/Breakout-v1", "encoder": "direct", "conv": "minatar"},
        ),
        (["algo=ppo", "env=cartpole"], {"encoder": "population", "conv": "none", "critic": "ann"}),
        (["algo=ppo", "env=atari/pong_ram"], {"encoder": "population", "conv": "none"}),
        # What the user says wins.
        (["algo=dqn", "encoder=population"], {"encoder": "population"}),
        (
            ["encoder=population", "conv=nature", "algo=dqn", "env=minatar/breakout"],
            {"encoder": "population", "conv": "nature"},
        ),
        (["algo=ddpg", "critic=spiking"], {"critic": "spiking"}),
        (["actor=ann", "bn=vanilla"], {"bn": "vanilla"}),
        (["algo=dqn", "env=acrobot"], {"env": "Acrobot-v1"}),
        (["experiment=carebn/ddpg", "critic=spiking"], {"critic": "spiking", "algo": "ddpg"}),
    ],
)
def test_companions(overrides: list[str], expected: dict[str, str]) -> None:
    found = chosen(*overrides)
    assert {key: found[key] for key in expected} == expected


def test_the_critic_has_a_normalisation_of_its_own() -> None:
    cfg = compose_config(["critic=spiking", "bn=vanilla", "critic.bn.momentum=0.2"])
    assert (cfg.bn.name, cfg.critic.bn.name, cfg.critic.bn.momentum) == ("vanilla", "carebn", 0.2)
    cfg = compose_config(["critic=spiking", "bn@critic.bn=none"])
    assert (cfg.bn.name, cfg.critic.bn.rule) == ("carebn", "none")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("bn", "every"),
    [("carebn", "auto"), ("re_only", "auto"), ("vanilla", None), ("ca_only", None), ("none", None)],
)
def test_ppo_re_calibrates_at_each_rollout(bn: str, every: str | None) -> None:
    cfg = compose_config(["algo=ppo", "critic=spiking", f"bn={bn}", f"bn@critic.bn={bn}"])
    assert (cfg.bn.recalibrate_every, cfg.critic.bn.recalibrate_every) == (every, every)
    validate(cfg)


# The settings of the other algorithms


def test_published_dqn() -> None:
    expected = {
        "env.id": "ALE/Pong-v5",
        "env.observation": "ram",
        "total_steps": 2_010_000,
        "algo.name": "dqn",
        "algo.learning_rate": 1e-4,
        "algo.learning_starts": 10_000,
        "algo.batch_size": 128,
        "algo.buffer_size": 100_000,
        "algo.gamma": 0.99,
        "algo.train_freq": 1,
        "algo.gradient_steps": 1,
        "algo.loss": "mse",
        "algo.max_grad_norm": None,
        "algo.exploration_updates": 200_000,
        "algo.exploration_initial_eps": 1.0,
        "algo.exploration_final_eps": 0.1,
        "algo.target_update_updates": 2_000,
        "algo.replacement": False,
        "actor.hidden": [128, 128],
        "actor.time_steps": 5,
        "critic.name": "none",
        "encoder.name": "direct",
        "conv.name": "none",
        "bn.name": "carebn",
        "bn.effective_n": 255,
        "bn.recalibrate_every": 10_000,
        "bn.recalibrate_batches": 100,
        "evaluation.every": 10_000,
        "evaluation.episodes": 10,
    }
    assert_holds(compose_config(["experiment=carebn/dqn_atari_ram"]), expected)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("bn", "n", "every"),
    [
        ("carebn", 255, 10_000),
        ("re_only", None, 10_000),
        ("ca_only", 255, None),
        ("vanilla", None, None),
        ("none", None, None),
    ],
)
@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_the_dqn_preset_with_every_normalisation(
    algo: str, bn: str, n: float | None, every: int | str | None
) -> None:
    # Its games need a package that may not be there.
    preset = ["experiment=carebn/dqn_atari_ram", "env=cartpole", f"bn={bn}"]
    if algo == "ppo":
        every = "auto" if every else None
        n = None if every else n
        preset += ["algo=ppo", "critic=ann", "encoder=population"]
    cfg = compose_config(preset)
    assert (cfg.bn.effective_n, cfg.bn.recalibrate_every) == (n, every)
    validate(cfg)


def test_the_dqn_preset_with_ppo_that_asks_the_rule() -> None:
    preset = ["experiment=carebn/dqn_atari_ram", "algo=ppo", "bn.recalibrate_every=null"]
    assert compose_config(preset).bn.effective_n == 255


@pytest.mark.parametrize("preset", ["carebn/dqn_atari_ram", "carebn/td3"])
def test_a_preset_with_an_ordinary_actor(preset: str) -> None:
    cfg = compose_config([f"experiment={preset}", "actor=ann", "bn=none"])
    assert (cfg.actor.name, cfg.bn.name, cfg.bn.recalibrate_every) == ("ann", "none", None)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["experiment=quickstart", "algo=ppo"], "algo.learning_starts: expected only with"),
        (["experiment=sac_mujoco", "algo=dqn"], "critic.hidden: expected only with critic=ann"),
    ],
)
def test_a_preset_whose_setting_a_choice_lacks(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}"):
        compose_config(overrides)


def test_published_sac() -> None:
    expected = {
        "algo.learning_rate": 3e-4,
        "algo.learning_starts": 10_000,
        "algo.batch_size": 256,
        "algo.buffer_size": 1_000_000,
        "algo.gamma": 0.99,
        "algo.tau": 0.005,
        "algo.ent_coef": None,
        "actor.hidden": [256, 256],
        "critic.hidden": [256, 256],
    }
    assert_holds(compose_config(["experiment=sac_mujoco"]), expected)


def test_published_ppo() -> None:
    expected = {
        "total_steps": 1_000_000,
        "algo.n_steps": 2048,
        "algo.n_epochs": 10,
        "algo.batch_size": 64,
        "algo.learning_rate": 3e-4,
        "algo.gamma": 0.99,
        "algo.gae_lambda": 0.95,
        "algo.clip_range": 0.2,
        "algo.ent_coef": 0.0,
        "algo.vf_coef": 0.5,
        "algo.max_grad_norm": 0.5,
        "algo.normalize_observations": True,
        "algo.normalize_rewards": True,
        "actor.hidden": [64, 64],
        "critic.hidden": [64, 64],
    }
    assert_holds(compose_config(["experiment=ppo_mujoco"]), expected)
