"""PPO's normalisation: the same statistics in rollouts and updates, refreshed between them."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import ConvertCallback
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from snnrl.agents import PPO
from snnrl.errors import UserError
from snnrl.nn.norm import norm_layers
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.random_numbers import random_numbers
from tests.envs import Follow, Match
from tests.nn.parts import NORMS

from .helpers import Watcher, buffers, changed, small
from .ppo_helpers import small_ppo


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make an agent say, of each iteration, how far from 1 its first minibatch's ratios are, and
    its values from those of the rollout."""

    def watch(agent: PPO) -> list[tuple[float, float]]:
        errors: list[tuple[float, float]] = []
        minibatches, evaluate = agent.rollout_buffer.get, agent.policy.evaluate_actions
        first: list[Any] = []

        def get(batch_size: int) -> Any:
            for number, batch in enumerate(minibatches(batch_size)):
                # Of the first pass over the rollout alone.
                if number == 0 and len(errors) < agent.num_timesteps // 32:
                    first.append(batch)
                yield batch

        def evaluate_actions(observations: Any, actions: Any) -> Any:
            values, log_prob, entropy = evaluate(observations, actions)
            if first:
                batch = first.pop()
                ratio = torch.exp(log_prob - batch.old_log_prob)
                change = values.flatten() - batch.old_values
                errors.append(((ratio - 1).abs().max().item(), change.abs().max().item()))
            return values, log_prob, entropy

        monkeypatch.setattr(agent.rollout_buffer, "get", get)
        monkeypatch.setattr(agent.policy, "evaluate_actions", evaluate_actions)
        return errors

    return watch


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("critic", ["ann", "spiking"])
@pytest.mark.parametrize("env", [Follow, Match])
@pytest.mark.parametrize("bn", NORMS)
def test_the_ratio_is_1_before_the_first_update(ratios, bn, env, critic):
    critic = critic if critic == "ann" else dict(name="spiking", bn=bn)
    # Layers that two groups divide, whatever the number of actions.
    agent = small_ppo(env(), policy_kwargs=dict(bn=bn, critic=critic, population=4))
    errors = ratios(agent)
    agent.learn(3 * 32)
    assert len(errors) == 3
    for ratio_error, value_error in errors:
        assert ratio_error < 1e-5
        assert value_error < 1e-5


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("env", [Follow, Match])
def test_the_ratio_is_1_with_an_encoder_that_draws(ratios, env):
    agent = small_ppo(env(), policy_kwargs=dict(encoder="poisson", critic="spiking"))
    errors = ratios(agent)
    agent.learn(3 * 32)
    assert len(errors) == 3
    assert max(max(error) for error in errors) < 1e-5
    # Each iteration has its own draws.
    assert [numbers.count for numbers in random_numbers(agent.policy)] == [3, 3]


def test_it_would_not_be_with_batch_statistics(ratios):
    agent = small_ppo(Match(), policy_kwargs=dict(bn="vanilla"))
    for layer in norm_layers(agent.policy):
        layer.frozen = False
    errors = ratios(agent)
    agent.learn(3 * 32)
    assert len(errors) == 3
    assert max(error for error, _ in errors) > 0.05


@pytest.mark.parametrize("critic", ["ann", "spiking"])
def test_a_shift_that_a_refresh_takes_away_is_not_learned(critic):
    agent = small_ppo(policy_kwargs=dict(bn="vanilla", critic=critic)).learn(32)
    agent.policy.set_training_mode(True)
    observations, _, *_ = next(agent.rollout_buffer.get(32))
    values, log_prob, _ = agent.policy.evaluate_actions(
        observations, torch.zeros(len(observations), 2)
    )
    (values.sum() + log_prob.sum()).backward()
    for part in agent.parts().values():
        for layer in part.network.layers:
            largest = layer.linear.weight.grad.abs().max()
            assert largest > 1e-3
            assert layer.linear.bias.grad.abs().max() < 1e-4 * largest


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bn", [name for name in NORMS if name != "none"])
def test_the_statistics_move_between_iterations_and_never_within(bn):
    agent = small_ppo(policy_kwargs=dict(bn=bn, critic=dict(name="spiking", bn=bn)))
    parts = agent.parts()
    assert list(parts) == ["actor", "critic"]
    at_start = {name: buffers(part) for name, part in parts.items()}
    seen = []

    def look(observations: Any, actions: Any) -> Any:
        seen.append([changed(at_start[name], part) for name, part in parts.items()])
        return evaluate(observations, actions)

    evaluate, agent.policy.evaluate_actions = agent.policy.evaluate_actions, look
    agent.learn(32)
    assert seen == [[set(), set()]] * 4
    for name, part in parts.items():
        after = changed(at_start[name], part)
        assert {b for b in after if "moving" in b} == {b for b in at_start[name] if "moving" in b}
        assert any("prior" in b for b in after) is (bn == "ca_only")


@pytest.mark.parametrize(
    ("bn", "message"),
    [
        (dict(name="renorm", warmup=5), r"^bn parameter warmup=5: .*; expected 100000$"),
        (
            dict(name="bntt", recalibrate_every=5_000),
            r"^bn parameter recalibrate_every=5000: PPO .*; expected 'auto', or None ",
        ),
        (
            dict(name="bntt", rule="confidence", smoothing=0.5, recalibrate_every="auto"),
            r"^bn parameter smoothing=0.5: has no effect .* only with recalibrate_every=None$",
        ),
        (dict(name="carebn", smoothing=0.5), r"^bn parameter smoothing=0.5: has no effect"),
    ],
    ids=str,
)
def test_what_has_no_effect_is_refused(bn, message):
    with pytest.raises(UserError, match=message):
        small_ppo(policy_kwargs=dict(bn=bn))


def test_only_rollouts_recalibrate_by_themselves():
    with pytest.raises(UserError, match=r"^bn.recalibrate_every=auto: TD3 has no rollouts, "):
        small(policy_kwargs=dict(bn=dict(name="bntt", recalibrate_every="auto")))


class DropoutExtractor(FlattenExtractor):
    def __init__(self, observation_space: Any):
        super().__init__(observation_space)
        self.dropout = nn.Dropout()


def test_the_normalisation_stays_frozen_whatever_the_mode():
    agent = small_ppo(
        policy_kwargs=dict(critic="spiking", features_extractor_class=DropoutExtractor)
    )
    for mode in (True, False, True):
        agent.policy.set_training_mode(mode)
        assert agent.policy.features_extractor.dropout.training is mode
        for part in agent.parts().values():
            assert part.training is mode
            assert part.network.layers[0].linear.training is mode
            assert all(layer.frozen and not layer.learns() for layer in norm_layers(part))


def first_statistics(agent: PPO) -> tuple[Any, Any]:
    """Mean and variance of the inputs of the first layer's normalisation over the last rollout."""
    network = agent.parts()["actor"].network
    norm = network.layers[0].norm
    with torch.no_grad():
        x = network.layers[0].linear(network.encoder(torch.as_tensor(agent.last_rollout)))
    x = x if norm.moving_mean.dim() == 2 else x.flatten(0, 1)
    return x.mean(-2), x.var(-2, correction=0)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("chunk", [512, 20])
@pytest.mark.parametrize(
    "bn",
    ["carebn", "re_only", *(dict(name=n, recalibrate_every="auto") for n in ("bntt", "tdbn"))],
    ids=str,
)
def test_recalibrating_strategies_take_the_rollouts_statistics(bn, chunk, monkeypatch):
    monkeypatch.setattr("snnrl.agents.ppo.CHUNK", chunk)
    agent = small_ppo(policy_kwargs=dict(bn=bn)).learn(64)
    norm = agent.parts()["actor"].network.layers[0].norm
    mean, var = first_statistics(agent)
    torch.testing.assert_close(norm.moving_mean, mean)
    torch.testing.assert_close(norm.moving_var, var)


@pytest.mark.parametrize("chunk", [512, 20])
def test_vanilla_takes_one_step_of_its_average(chunk, monkeypatch):
    monkeypatch.setattr("snnrl.agents.ppo.CHUNK", chunk)
    agent = small_ppo(policy_kwargs=dict(bn="vanilla")).learn(32)
    norm = agent.parts()["actor"].network.layers[0].norm
    mean, var = first_statistics(agent)
    torch.testing.assert_close(norm.moving_mean, 0.1 * mean)
    torch.testing.assert_close(norm.moving_var, 0.9 + 0.1 * var)


@pytest.mark.parametrize(("given", "n"), [({}, 2 * 16 - 1), (dict(effective_n=5), 5)])
def test_ca_only_takes_one_step_with_the_rollouts_size(given, n, monkeypatch):
    monkeypatch.setattr("snnrl.agents.ppo.CHUNK", 20)
    env = DummyVecEnv([Follow, Follow])
    agent = small_ppo(env, n_steps=16, policy_kwargs=dict(bn=dict(name="ca_only", **given)))
    agent.learn(32)
    norm = agent.parts()["actor"].network.layers[0].norm
    mean, var = first_statistics(agent)
    prior = 0.2 * mean**2
    torch.testing.assert_close(norm.moving_mean, mean * prior / (prior + var / n))
    assert isinstance(norm.update, ConfidenceUpdate)
    torch.testing.assert_close(norm.update.prior_mean, prior)


def test_re_only_and_carebn_coincide():
    one, other = (small_ppo(policy_kwargs=dict(bn=bn)).learn(96) for bn in ("carebn", "re_only"))
    theirs = other.policy.state_dict()
    for name, value in one.policy.state_dict().items():
        assert ".update." in name or torch.equal(value, theirs[name]), name


def test_strategies_start_from_the_same_weights_and_draw_the_same():
    agents = [small_ppo(policy_kwargs=dict(bn=bn)) for bn in ("none", "vanilla", "carebn")]
    for agent in agents[1:]:
        theirs = dict(agents[0].policy.named_parameters())
        for name, value in agent.policy.named_parameters():
            assert ".norm." in name or torch.equal(value, theirs[name]), name
    drawn = []
    for agent in agents:
        agent.set_random_seed(3)
        agent.learn(32)
        drawn.append((np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()))
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("env", [Follow, Match])
def test_how_far_a_refresh_moves_the_policy_is_logged(env):
    agent = small_ppo(env(), policy_kwargs=dict(bn="carebn")).learn(32)
    part = agent.parts()["actor"]
    observations = torch.as_tensor(agent.last_rollout)

    def actions():
        with torch.no_grad():
            distribution = agent.policy.get_distribution(observations).distribution
        if isinstance(distribution, torch.distributions.Normal):
            return torch.distributions.Independent(distribution, 1)
        return distribution

    after = actions()
    for layer, (mean, var) in zip(norm_layers(part), agent.statistics_before["actor"], strict=True):
        layer.moving_mean.copy_(mean)
        layer.moving_var.copy_(var)
    expected = torch.distributions.kl_divergence(actions(), after).mean().item()
    assert expected > 1e-4
    logged = agent.loss_log.drain(32)["train/refresh_kl"]
    assert logged == pytest.approx(expected, rel=1e-4)


def test_no_refresh_moves_a_policy_without_normalisation():
    agent = small_ppo(policy_kwargs=dict(bn="none", critic="spiking")).learn(32)
    assert "train/refresh_kl" not in agent.loss_log.drain(32)


def test_the_refresh_is_dated_and_the_statistics_before_it_are_kept():
    agent = small_ppo(policy_kwargs=dict(bn="vanilla", critic="spiking"))
    assert agent.recalibrated_at == {}
    seen = []
    agent.learn(96, callback=Watcher(lambda agent: seen.append(dict(agent.recalibrated_at))))
    assert seen == [{}, dict(actor=32, critic=32), dict(actor=64, critic=64)]
    assert agent.recalibrated_at == dict(actor=96, critic=96)
    layers = norm_layers(agent.parts()["actor"])
    for layer, (mean, var) in zip(layers, agent.statistics_before["actor"], strict=True):
        assert mean.any()
        assert not torch.equal(layer.moving_mean, mean)
        assert not torch.equal(layer.moving_var, var)


def test_without_normalisation_there_is_nothing_to_refresh():
    agent = small_ppo(policy_kwargs=dict(bn="none")).learn(32)
    assert agent.recalibrated_at == {}


def test_recalibration_on_demand_repeats_the_replacement_alone():
    critic = dict(name="spiking", bn="vanilla")
    agent = small_ppo(policy_kwargs=dict(bn="carebn", critic=critic))
    parts = agent.parts()
    before = {name: buffers(part) for name, part in parts.items()}
    agent.recalibrate()
    assert not changed(before["actor"], parts["actor"])
    agent.learn(32)
    before = {name: buffers(part) for name, part in parts.items()}
    norm_layers(parts["actor"])[0].moving_mean.zero_()
    agent.recalibrate()
    assert not changed(before["actor"], parts["actor"])
    assert not changed(before["critic"], parts["critic"])


def test_samples_come_from_the_last_rollout_as_the_policy_saw_it():
    env = VecNormalize(DummyVecEnv([Follow, Follow]))
    agent = small_ppo(env, policy_kwargs=dict(critic="spiking"))
    assert agent.experience == "rollout"
    assert agent.sample_inputs("actor", 4, np.random.default_rng(0)) is None
    seen: list[np.ndarray] = []

    def sample(agent: PPO) -> None:
        inputs = agent.sample_inputs("critic", 500, np.random.default_rng(0))
        seen.append(np.empty((0, 2)) if inputs is None else inputs[0].numpy())

    collected: list[np.ndarray] = []

    def collect(given: dict[str, Any], _: Any) -> bool:
        collected.append(given["obs_tensor"].numpy().copy())
        return True

    agent.learn(128, callback=[Watcher(sample), ConvertCallback(collect)])
    assert len(seen[0]) == 0
    first_rollout = {tuple(row) for row in np.concatenate(collected[:32])}
    assert {tuple(row) for row in seen[1]} <= first_rollout
    assert len({tuple(row) for row in seen[1]}) > 50
