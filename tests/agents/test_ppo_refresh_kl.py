"""PPO's bound on how far a refresh of the statistics may move the policy."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from snnrl.agents import PPO
from snnrl.errors import UserError
from snnrl.nn.norm import norm_layers
from tests.agents.helpers import buffers, changed, small
from tests.envs import Follow, Match, MatchImage
from tests.nn.parts import NORMS, make_norm

from .ppo_helpers import CONV, small_ppo

BOUND = 1e-2
"""Exceeded where ``carebn`` refreshes the statistics of a small agent all the way."""

SMALLEST = 2**-8
"""Distance of two square roots of shares that are told apart."""

ENVS = {"box": Follow, "discrete": Match, "image": MatchImage}

WITH_STATISTICS = [name for name in NORMS if norm_layers(make_norm(name, 2))]


def agent_with(bn: str, bound: float | None, env: Any = Follow, **policy_kwargs: Any) -> PPO:
    image = dict(conv=CONV, encoder="direct") if env is MatchImage else {}
    given = dict(bn=dict(name=bn, refresh_kl=bound))
    agent = small_ppo(env(), policy_kwargs={**image, **given, **policy_kwargs})
    for layer in norm_layers(agent.policy):
        layer.moving_var.fill_(0.02)  # Far from the rollout's, so a small network spikes.
    return agent


def moving(agent: PPO, part: str = "actor") -> list[Tensor]:
    """Mean and variance of each layer, one after the other."""
    layers = norm_layers(agent.parts()[part])
    return [b.clone() for layer in layers for b in (layer.moving_mean, layer.moving_var)]


def before_refresh(agent: PPO, part: str = "actor") -> list[Tensor]:
    return [b.clone() for pair in agent.statistics_before[part] for b in pair]


def put(agent: PPO, statistics: list[Tensor]) -> None:
    layers = norm_layers(agent.parts()["actor"])
    now = [b for layer in layers for b in (layer.moving_mean, layer.moving_var)]
    for buffer, value in zip(now, statistics, strict=True):
        buffer.copy_(value)


def actions(agent: PPO) -> Any:
    observations = torch.as_tensor(agent.last_rollout)
    agent.policy.set_training_mode(False)
    with torch.no_grad():
        found = agent.policy.get_distribution(observations).distribution
    return Independent(found, 1) if isinstance(found, Normal) else found


def divergence(agent: PPO, one: list[Tensor], other: list[Tensor]) -> float:
    """Of the policy with one's statistics from that with the other's, over the last rollout."""
    now = moving(agent)
    put(agent, one)
    before = actions(agent)
    put(agent, other)
    found = kl_divergence(before, actions(agent)).mean().item()
    put(agent, now)
    return found


def between(old: list[Tensor], new: list[Tensor], share: float) -> list[Tensor]:
    return [a + share * (b - a) for a, b in zip(old, new, strict=True)]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("bn", WITH_STATISTICS)
def test_the_largest_share_under_the_bound_is_moved(bn, env):
    free = agent_with(bn, None, ENVS[env]).learn(32)
    bound = free.loss_log.drain(32)["train/refresh_kl"] / 5
    agent = agent_with(bn, bound, ENVS[env]).learn(32)
    log = agent.loss_log.drain(32)
    share, moved = log["train/refresh_share"], log["train/refresh_kl"]
    old, new = before_refresh(agent), moving(free)
    assert 0 < share < 1
    assert math.sqrt(share) % SMALLEST == 0
    torch.testing.assert_close(moving(agent), between(old, new, share))
    assert moved == pytest.approx(divergence(agent, old, moving(agent)), rel=1e-4, abs=1e-8)
    assert 0 < moved <= bound
    further = between(old, new, (math.sqrt(share) + SMALLEST) ** 2)
    assert divergence(agent, old, further) > bound


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bn", ["carebn", "vanilla"])
def test_it_holds_in_every_iteration(bn):
    agent = agent_with(bn, BOUND, critic=dict(name="spiking", bn=bn))
    for iteration in range(1, 5):
        agent.learn(32, reset_num_timesteps=iteration == 1)
        log = agent.loss_log.drain(32 * iteration)
        assert log["train/refresh_kl"] <= BOUND
        assert 0 <= log["train/refresh_share"] <= 1


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bn", ["carebn", "re_only", "vanilla", "ca_only"])
def test_what_stays_under_the_bound_goes_all_the_way_bit_for_bit(bn):
    free, agent = (agent_with(bn, bound).learn(96) for bound in (None, 1e6))
    theirs = free.policy.state_dict()
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    log = agent.loss_log.drain(96)
    assert log["train/refresh_share"] == 1
    without = free.loss_log.drain(96)
    assert without.pop("train/refresh_kl") == log["train/refresh_kl"] > 0
    assert "train/refresh_share" not in without


def test_the_log_has_the_mean_share_of_several_refreshes():
    agent = agent_with("carebn", BOUND)
    shares = []
    keep = agent._keep_loss

    def watch(name: str, value: Tensor) -> None:
        if name == "train/refresh_share":
            shares.append(value.item())
        keep(name, value)

    agent._keep_loss = watch
    agent.learn(96, log_interval=None)
    assert len(set(shares)) == 3
    logged = agent.loss_log.drain(96)["train/refresh_share"]
    assert logged == pytest.approx(sum(shares) / 3)


def test_statistics_that_cannot_move_at_all_stay(monkeypatch):
    monkeypatch.setattr("snnrl.agents.ppo.mean_divergence", lambda *_: torch.tensor(1.0))
    agent = agent_with("carebn", BOUND).learn(32)
    assert agent.loss_log.drain(32)["train/refresh_share"] == 0
    for now, before in zip(moving(agent), before_refresh(agent), strict=True):
        assert torch.equal(now, before)


def test_the_confidence_state_follows_its_rule_whatever_the_share():
    free, agent = (agent_with("ca_only", bound).learn(32) for bound in (None, BOUND))
    theirs = buffers(free.parts()["actor"])
    different = changed(theirs, agent.parts()["actor"])
    assert different == {name for name in theirs if "moving" in name}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bn", ["carebn", "vanilla"])
def test_the_critics_statistics_go_all_the_way(bn):
    critic = dict(name="spiking", bn=bn)
    free, agent = (agent_with("carebn", bound, critic=critic).learn(32) for bound in (None, BOUND))
    for one, other in zip(moving(free, "critic"), moving(agent, "critic"), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(moving(free)[0], moving(agent)[0])


@pytest.mark.parametrize("chunk", [20, 7])
def test_a_long_rollout_is_measured_on_every_few_of_its_observations(chunk, monkeypatch):
    monkeypatch.setattr("snnrl.agents.ppo.CHUNK", chunk)
    agent = agent_with("carebn", BOUND).learn(32)
    assert 0 < agent.loss_log.drain(32)["train/refresh_kl"] <= BOUND
    old, now, rollout = before_refresh(agent), moving(agent), agent.last_rollout
    agent.last_rollout = rollout[:: math.ceil(32 / chunk)]
    assert divergence(agent, old, now) <= BOUND


@pytest.mark.parametrize("kernel", ["native", pytest.param("compile", marks=pytest.mark.slow)])
def test_every_kernel_keeps_to_it(kernel):
    slow, fast = (agent_with("carebn", BOUND, kernel=each).learn(64) for each in ("naive", kernel))
    ours, theirs = (agent.loss_log.drain(64) for agent in (slow, fast))
    assert theirs["train/refresh_kl"] <= BOUND
    assert theirs["train/refresh_share"] == pytest.approx(ours["train/refresh_share"], abs=0.05)


def test_recalibration_on_demand_keeps_to_it():
    agent = agent_with("carebn", BOUND).learn(32)
    agent.loss_log.drain(32)
    old = moving(agent)
    agent.recalibrate()
    assert not torch.equal(moving(agent)[0], old[0])
    assert divergence(agent, old, moving(agent)) <= BOUND
    assert "train/refresh_share" not in agent.loss_log.drain(32)


def test_an_agent_saved_with_it_goes_on_with_it(tmp_path):
    agent = agent_with("carebn", BOUND).learn(32)
    agent.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env=Follow(), device="cpu")
    loaded.learn(32, reset_num_timesteps=False)
    assert loaded.loss_log.drain(64)["train/refresh_kl"] <= BOUND


# What does not fit


@pytest.mark.parametrize("variant", ["td3", "ddpg", "sac", "dqn"])
def test_an_agent_without_rollouts_refuses_it(variant):
    with pytest.raises(UserError, match=r"^bn\.refresh_kl=0\.01: has no effect with "):
        small(variant, policy_kwargs=dict(bn=dict(name="carebn", refresh_kl=0.01)))


def test_a_critic_refuses_it():
    critic = dict(name="spiking", bn=dict(name="carebn", refresh_kl=0.01))
    message = r"^critic bn parameter refresh_kl=0\.01: .* chooses no actions; expected None$"
    with pytest.raises(UserError, match=message):
        small_ppo(policy_kwargs=dict(critic=critic))


@pytest.mark.parametrize("bn", [name for name in NORMS if name not in WITH_STATISTICS])
def test_what_keeps_no_statistics_refuses_it(bn):
    message = rf"^bn\.refresh_kl=0\.01: bn={bn} keeps no statistics to refresh; expected null$"
    with pytest.raises(UserError, match=message):
        small_ppo(policy_kwargs=dict(bn=dict(name=bn, refresh_kl=0.01)))


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (0, "expected more than 0"),
        (-0.1, "expected more than 0"),
        (math.nan, "expected a finite number"),
        (math.inf, "expected a finite number"),
        (True, "expected a number or null"),
        ("small", "expected a number or null"),
    ],
)
def test_a_bound_that_is_no_positive_number_is_refused(bound, message):
    with pytest.raises(UserError, match=rf"^bn\.refresh_kl={bound}: {message}$"):
        small_ppo(policy_kwargs=dict(bn=dict(name="carebn", refresh_kl=bound)))
