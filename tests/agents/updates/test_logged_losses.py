"""The logger holds the losses between dumps, as Stable-Baselines3's does."""

from copy import deepcopy

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from snnrl.agents import DQN, PPO, SAC, TD3
from snnrl.agents.updates.loss_log import LatestLosses
from tests.envs import Follow, Match

REPLAY = dict(learning_starts=10, batch_size=8, buffer_size=200)
OURS = {"TD3": TD3, "SAC": SAC, "DQN": DQN, "PPO": PPO}
SETTINGS = {
    "TD3": REPLAY,
    "SAC": REPLAY,
    "DQN": REPLAY | dict(train_freq=1),
    "PPO": dict(n_steps=16, batch_size=8, n_epochs=2),
}


class Reader(BaseCallback):
    """What the logger holds of ``train/`` at each step and at the end."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _read(self):
        found = self.logger.name_to_value.items()
        self.seen.append({name: value for name, value in found if name.startswith("train/")})

    def _on_step(self):
        self._read()
        return True

    def _on_training_end(self):
        self._read()


class Writer(KVWriter):
    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass


def play(algorithm, name, steps=50, log_interval=1_000, reader=None, **changes):
    env = Match() if name == "DQN" else Follow()
    optimizer = dict(optimizer_class=torch.optim.SGD, net_arch=[8])
    agent = algorithm(
        "MlpPolicy", env, seed=0, device="cpu", policy_kwargs=optimizer, **SETTINGS[name] | changes
    )
    reader, writer = reader or Reader(), Writer()
    agent.set_logger(Logger(None, [writer]))
    agent.learn(steps, callback=reader, log_interval=log_interval)
    return agent, reader.seen, writer.rows


def compare(ours, theirs):
    assert len(ours) == len(theirs)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.keys() >= b.keys(), i
        for key in b:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-5, atol=1e-7, err_msg=f"{i} {key}")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("several", [False, True])
def test_between_dumps_and_at_the_end(name, several):
    changes = dict(gradient_steps=3, train_freq=2) if several and name != "PPO" else {}
    _, ours, _ = play(OURS[name], name, **changes)
    _, theirs, _ = play(getattr(stable_baselines3, name), name, **changes)
    assert len(theirs[-1]) > 2
    compare(ours, theirs)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", OURS)
def test_after_learn(name):
    ours = play(OURS[name], name)[0].logger.name_to_value
    theirs = play(getattr(stable_baselines3, name), name)[0].logger.name_to_value
    found = [{k: v for k, v in each.items() if "train/" in k} for each in (ours, theirs)]
    assert "train/n_updates" in found[1]
    compare(found[:1], found[1:])


class Dumper(Reader):
    """Dumps by itself, as ``EvalCallback`` does."""

    def _on_step(self):
        if self.num_timesteps % 7 == 0:
            self.logger.dump(self.num_timesteps)
        return super()._on_step()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", OURS)
def test_a_dump_by_a_callback_has_the_losses(name):
    results = [
        play(algorithm, name, reader=Dumper())
        for algorithm in (OURS[name], getattr(stable_baselines3, name))
    ]
    (_, ours, our_rows), (_, theirs, their_rows) = results
    compare(ours, theirs)
    rows = [
        [{k: v for k, v in row.items() if "train/" in k} for row in each]
        for each in (our_rows, their_rows)
    ]
    assert any(rows[1])
    compare(*rows)


def test_our_own_dump_still_has_means_since_the_last_one():
    agent, _, _ = play(TD3, "TD3", steps=20)
    losses = []
    for _ in range(4):
        agent.train(1, 8)
        losses.append(agent.logger.name_to_value["train/critic_loss"])
    agent.loss_log.drain(0)
    for _ in range(4):
        agent.train(1, 8)
        losses.append(agent.logger.name_to_value["train/critic_loss"])
    means = agent.loss_log.drain(0)
    assert means["train/critic_loss"] == pytest.approx(np.mean(losses[4:]), rel=1e-5)


def test_a_copy_logs_its_own_losses():
    agent, _, _ = play(TD3, "TD3", steps=20)
    agent.train(1, 8)
    copy = deepcopy(agent)
    copy.train(3, 8)
    one = agent.logger.name_to_value["train/critic_loss"]
    assert one != copy.logger.name_to_value["train/critic_loss"]
    agent.train(1, 8)
    assert agent.logger.name_to_value["train/critic_loss"] != one


def test_nothing_waits_until_somebody_reads(monkeypatch):
    agent, _, _ = play(TD3, "TD3", steps=20)
    agent.logger  # noqa: B018
    monkeypatch.setattr(LatestLosses, "read", lambda _: pytest.fail("read"))
    agent.train(3, 8)
    DQN("MlpPolicy", Match(), device="cpu", policy_kwargs=dict(net_arch=[8]), **REPLAY)


def test_each_iteration_of_ppo_counts_once():
    agent = PPO("SpikingPolicy", Follow(), seed=0, device="cpu", **SETTINGS["PPO"])
    kept = []
    keep = agent._keep_loss
    agent._keep_loss = lambda name, value: (kept.append(name), keep(name, value))
    agent.learn(64, log_interval=1_000)
    assert agent._n_updates == 8
    assert {name: kept.count(name) for name in kept} == dict.fromkeys(kept, 4)
    assert "train/refresh_kl" in kept
