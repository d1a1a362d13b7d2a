"""The script that trains Stable-Baselines3's own agents for comparison."""

import importlib.util
from pathlib import Path

import pytest

from snnrl import train
from snnrl.experiment.builder import build_training_env
from snnrl.experiment.config.compose import compose_config

SCRIPT = Path(__file__).parent.parent / "scripts" / "stock_baselines.py"
SETTINGS = [
    "algo=td3",
    "env=pendulum",
    "actor=ann",
    "actor.hidden=[8]",
    "algo.learning_starts=20",
    "algo.batch_size=8",
    "algo.buffer_size=100",
    "total_steps=60",
    "evaluation.every=30",
    "evaluation.episodes=2",
    "tracking=none",
]
CRITIC = "critic.hidden=[8]"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("stock_baselines", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_its_evaluations_are_those_of_our_ordinary_agent(script, tmp_path):
    settings = [*SETTINGS, CRITIC, f"results_dir={tmp_path}"]
    assert script.main(settings) == 0
    assert train.main(settings) == 0
    stock, ours = sorted(tmp_path.rglob("evaluations.csv"), key=lambda p: "stock" not in str(p))
    assert stock.parent.parent.name == "td3-stock"
    assert len(ours.read_text().splitlines()) == 1 + 3 * 2
    assert stock.read_text() == ours.read_text()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (["actor=spiking", CRITIC], "actor=spiking"),
        (["algo=dqn", "env=cartpole"], "algo.loss=mse"),
        (["env.n_envs=2", CRITIC], "env.n_envs=2"),
        (["target=proxy", CRITIC], "target=proxy: SB3 has no such target"),
        (["algo.critic_learning_rate=1e-4", CRITIC], "algo.critic_learning_rate=0.0001: SB3 has "),
    ],
)
def test_unlike_agents_are_refused(script, tmp_path, capsys, changes, key):
    changed = [change.partition("=")[0] for change in changes]
    settings = [text for text in SETTINGS if text.partition("=")[0] not in changed]
    assert script.main([*settings, *changes, f"results_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {key}") and "; expected" in error.replace(": exp", "; exp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("algo", "changes"),
    [
        ("td3", [CRITIC]),
        ("ddpg", [CRITIC, "algo.critic_weight_decay=0", "algo.critic_learning_rate=1e-4"]),
        ("sac", [CRITIC]),
        (
            "dqn",
            ["env=cartpole", "algo.loss=huber", "algo.max_grad_norm=10", "algo.replacement=true"],
        ),
        ("ppo", [CRITIC, "algo.normalize_observations=false", "algo.normalize_rewards=false"]),
    ],
)
def test_every_algorithm_can_be_made(script, algo, changes):
    settings = [f"algo={algo}", "env=pendulum", "actor=ann", "actor.hidden=[8]", *changes]
    cfg = compose_config(settings)
    script.check(cfg)
    assert script.build(cfg, build_training_env(cfg)).__class__.__name__ == algo.upper()
