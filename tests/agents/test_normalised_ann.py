"""Ordinary actors, critics and Q-networks with normalisation, in every algorithm."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from torch import nn

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3
from snnrl.errors import UserError
from snnrl.experiment.diagnostics import activity, errors_of_statistics
from snnrl.nn.norm import BatchNorm, norm_layers
from snnrl.nn.ordinary import NormalisedLayer
from snnrl.nn.registry import component, names
from tests.envs import Follow, Match

from .helpers import assert_equal_states, buffers, changed

MAKERS = {name: component("norm", name).maker for name in names("norm") if name != "none"}
FITTING = [name for name, maker in MAKERS.items() if maker.needs_spikes() is None]
UNFIT = [name for name in MAKERS if name not in FITTING]
MOVING = [name for name in FITTING if issubclass(MAKERS[name], BatchNorm)]
REPLAY = {"td3": TD3, "ddpg": DDPG, "sac": SAC, "dqn": DQN}
ALGORITHMS = {**REPLAY, "ppo": PPO}
CRITICS = ["td3", "ddpg", "sac"]
TEMPERATURE = torch.tensor([0.2])


def small(algo: str, bn: Any = "vanilla", policy: str = "AnnPolicy", **arguments: Any) -> Any:
    """An agent whose networks are ordinary and all normalised by ``bn``."""
    kwargs: dict[str, Any] = dict(net_arch=[16, 12], bn=bn)
    if algo != "dqn":
        kwargs |= dict(critic=dict(name="ann", bn=bn))
    if policy == "SpikingPolicy":
        kwargs |= dict(actor="ann")
    settings: dict[str, Any] = dict(learning_starts=16, batch_size=16, buffer_size=1_000)
    if algo == "ppo":
        settings = dict(n_steps=32, batch_size=16, n_epochs=2)
    if algo == "dqn":
        settings |= dict(train_freq=1)
    env = arguments.pop("env", Match() if algo == "dqn" else Follow())
    kwargs |= arguments.pop("policy_kwargs", {})
    return ALGORITHMS[algo](
        policy, env, policy_kwargs=kwargs, seed=0, device="cpu", **settings | arguments
    )


def schedule(bn: str, algo: str, every: int | None) -> Any:
    """The normalisation, re-calibrated every so many steps where it can be."""
    can = algo != "ppo" and bn in MOVING
    return dict(name=bn, recalibrate_every=every, recalibrate_batches=10) if can else bn


def filled(algo: str, bn: Any = "vanilla", **arguments: Any) -> Any:
    """With a filled buffer, statistics that have moved, and networks in training mode."""
    agent = small(algo, bn, learning_starts=1_000, **arguments).learn(40)
    agent.train(2, 16)
    agent.policy.set_training_mode(True)
    return agent


def targets_of(agent: Any, batch: Any) -> Any:
    return agent._target_values(batch, *([TEMPERATURE] if hasattr(agent, "ent_coef") else []))


def update_actor(agent: Any, batch: Any) -> None:
    if hasattr(agent, "ent_coef"):
        actions, log_prob = agent.actor.action_log_prob(batch.observations)
        agent._update_actor(batch, actions, log_prob.reshape(-1, 1), TEMPERATURE)
    else:
        agent._update_actor(batch)


def plain_weights(network: nn.Module) -> list[torch.Tensor]:
    return [weight for name, weight in network.named_parameters() if ".norm." not in name]


@pytest.mark.parametrize(
    ("algo", "policy"),
    [
        (algo, policy)
        for algo, policy in product(ALGORITHMS, ["AnnPolicy", "SpikingPolicy"])
        if (algo, policy) != ("dqn", "SpikingPolicy")  # Its Q-network spikes.
    ],
)
def test_every_hidden_layer_is_normalised_and_weights_start_as_the_baselines(algo, policy):
    agent = small(algo, policy=policy)
    baseline = small(
        algo,
        "none",
        policy_kwargs={} if algo == "dqn" else dict(critic="ann"),
    )
    assert set(agent.parts()) == ({"q_network"} if algo == "dqn" else {"actor", "critic"})
    assert baseline.parts() == {}
    critics = {"td3": 2, "sac": 2}.get(algo, 1)
    for name, part in agent.parts().items():
        layers = [m for m in part.modules() if isinstance(m, NormalisedLayer)]
        assert [layer.norm.shape.features for layer in layers] == [16, 12] * (
            critics if name == "critic" else 1
        )
    ours, theirs = plain_weights(agent.policy), plain_weights(baseline.policy)
    assert len(ours) == len(theirs)
    # Modules stand in another order where a network was replaced.
    assert {w.sum().item() for w in ours} == {w.sum().item() for w in theirs}
    optimised = {id(w) for o in agent._optimizers() for g in o.param_groups for w in g["params"]}
    for part in agent.parts().values():
        assert {id(weight) for weight in part.parameters()} <= optimised


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_without_it_the_networks_are_those_of_stable_baselines3(algo):
    critic = {} if algo == "dqn" else dict(critic=dict(name="ann", bn="none"))
    agent = small(algo, "none", policy_kwargs=critic)
    assert agent.parts() == {}
    assert not any(isinstance(m, NormalisedLayer) for m in agent.policy.modules())


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("bn", FITTING)
@pytest.mark.parametrize("algo", REPLAY)
def test_learning_passes_move_once_and_no_other_pass_moves(algo, bn):
    agent = filled(algo, schedule(bn, algo, None), **dict(policy_delay=1) if algo == "td3" else {})
    seen: list[BatchNorm] = []
    for layer in norm_layers(agent.policy):

        def saw(*args: Any, layer: Any = layer, usual: Any = layer.saw) -> None:
            seen.append(layer)
            usual(*args)

        layer.saw = saw
    agent.train(4, 16)
    own = [layer for part in agent.parts().values() for layer in norm_layers(part)]
    assert bool(own) == (bn in MOVING)
    assert all(seen.count(layer) == 4 for layer in own)
    assert len(seen) == 4 * len(own)
    before = buffers(agent.policy)
    targets_of(agent, agent.replay_buffer.sample(16))
    agent.predict(agent.observation_space.sample())
    agent.learning_starts, agent.gradient_steps = 0, 0
    agent.learn(10)
    assert not changed(before, agent.policy)


@pytest.mark.parametrize("algo", CRITICS)
def test_the_critics_own_loss_uses_the_batchs_statistics(algo):
    agent = filled(algo, "vanilla")
    batch = agent.replay_buffer.sample(16)
    layer = next(m for m in agent.critic.modules() if isinstance(m, NormalisedLayer))
    together = torch.cat([batch.observations, batch.actions], 1)
    currents = layer.linear(batch.observations if algo == "ddpg" else together).detach()
    before = layer.norm.moving_mean.clone()
    outputs = []
    handle = layer.activation.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0]))
    agent._update_critic(batch, targets_of(agent, batch))
    handle.remove()
    expected = (currents - currents.mean(0)) / (currents.var(0, correction=0) + 1e-5).sqrt()
    norm = layer.norm
    assert not torch.equal(norm.moving_mean, before)
    torch.testing.assert_close(norm.moving_mean, 0.9 * before + 0.1 * currents.mean(0))
    # gamma and beta took a step after the pass.
    assert (outputs[0] - expected).abs().max() < 0.1


@pytest.mark.parametrize("algo", CRITICS)
def test_the_actors_loss_uses_the_critics_moving_ones_and_moves_nothing(algo):
    agent = filled(algo, "carebn")
    batch = agent.replay_buffer.sample(16)
    before, weights = buffers(agent.critic), [w.clone() for w in agent.actor.parameters()]
    layer = next(m for m in agent.critic.modules() if isinstance(m, NormalisedLayer))
    seen = []
    layer.norm.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    update_actor(agent, batch)
    assert not changed(before, agent.critic)
    assert layer.norm.training
    norm, (x, output) = layer.norm, seen[0]
    constant = (x - norm.moving_mean) / (norm.moving_var + norm.eps).sqrt()
    torch.testing.assert_close(output, constant * norm.gamma + norm.beta)
    moved = [not torch.equal(*pair) for pair in zip(weights, agent.actor.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize("algo", ["td3", "ddpg", "sac", "dqn"])
@pytest.mark.parametrize("target_stats", ["soft", "hard"])
def test_target_statistics_follow(algo, target_stats):
    bn = dict(name="vanilla", target_stats=target_stats)
    more = dict(target_update_updates=1) if algo == "dqn" else {}
    more |= dict(policy_delay=1) if algo == "td3" else {}
    agent = small(algo, bn, tau=0.25, learning_starts=1_000, **more).learn(40)
    agent.train(1, 16)
    online, target = ("q_net", "q_net_target") if algo == "dqn" else ("critic", "critic_target")
    share = {"soft": 0.25, "hard": 1.0}[target_stats]
    pairs = list(
        zip(norm_layers(getattr(agent, online)), norm_layers(getattr(agent, target)), strict=True)
    )
    assert pairs
    for ours, theirs in pairs:
        assert ours.moving_mean.any()
        assert not theirs.training
        torch.testing.assert_close(theirs.moving_mean, share * ours.moving_mean)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("bn", MOVING)
@pytest.mark.parametrize("algo", REPLAY)
def test_recalibration_pools_replayed_inputs(algo, bn):
    agent = small(algo, schedule(bn, algo, 30), learning_starts=16).learn(40)
    assert agent.recalibrated_at == {name: 30 for name in agent.parts()}
    part = "q_network" if algo == "dqn" else "critic"
    layer = next(m for m in agent.parts()[part].modules() if isinstance(m, NormalisedLayer))
    pooled = []
    layer.norm.register_forward_hook(lambda _, inputs, output: pooled.append(inputs[0]))
    agent.recalibrate([part])
    assert len(pooled) == 10
    x = torch.cat(pooled, dim=1).flatten(0, 1)
    torch.testing.assert_close(layer.norm.moving_mean, x.mean(0))
    torch.testing.assert_close(layer.norm.moving_var, x.var(0, correction=0))


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("env", [Follow, Match])
@pytest.mark.parametrize("bn", FITTING)
def test_the_ratio_of_ppo_is_1_before_an_update_and_a_refresh_moves(bn, env):
    agent = small("ppo", bn, env=env())
    before = buffers(agent.policy)
    first: list[float] = []
    evaluate = agent.policy.evaluate_actions
    minibatches = agent.rollout_buffer.get

    def get(size: int) -> Any:
        for number, batch in enumerate(minibatches(size)):
            if number == 0 and len(first) < agent.num_timesteps // 32:
                values, log_prob, _ = evaluate(
                    batch.observations, batch.actions.squeeze(-1) if env is Match else batch.actions
                )
                first.append((log_prob - batch.old_log_prob).abs().max().item())
                first_values.append((values.flatten() - batch.old_values).abs().max().item())
            yield batch

    first_values: list[float] = []
    agent.rollout_buffer.get = get
    agent.learn(3 * 32)
    assert len(first) == 3
    assert max(first) < 1e-5
    assert max(first_values) < 1e-5
    assert bool(changed(before, agent.policy)) == (bn in MOVING)
    if bn in MOVING:
        assert agent.recalibrated_at == {"actor": 96, "critic": 96}
        if agent.parts()["actor"].norm.recalibrate_every is not None:
            agent.policy.set_training_mode(False)
            x = agent.part_inputs("actor", torch.as_tensor(agent.last_rollout))[0]
            layer = agent.parts()["actor"].network.layers[0]
            currents = layer.linear(x).detach()
            torch.testing.assert_close(layer.norm.moving_mean, currents.mean(0))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("bn", ["carebn", "layernorm"])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_agents_policies_and_parts_come_back(algo, bn, tmp_path):
    agent = small(algo, bn).learn(32)
    agent.save(tmp_path / "agent")
    loaded = ALGORITHMS[algo].load(tmp_path / "agent", device="cpu")
    assert_equal_states(agent.policy, loaded.policy)
    observations = np.stack([agent.observation_space.sample() for _ in range(5)])
    actions = agent.predict(observations, deterministic=True)[0]
    assert np.array_equal(actions, loaded.predict(observations, deterministic=True)[0])
    agent.policy.save(tmp_path / "policy")
    assert_equal_states(agent.policy, type(agent.policy).load(tmp_path / "policy", device="cpu"))
    for part in agent.parts().values() if algo != "ppo" else ():
        part.save(tmp_path / "part")
        again = type(part).load(tmp_path / "part", device="cpu")
        assert_equal_states(part, again)
        assert not again.training
        again.set_training_mode(True)
        with pytest.raises(UserError, match=r"^Normalised\w+: trains in snnrl.agents.\w+"):
            again.extract_features(torch.zeros(1, 3), again.features_extractor)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("algo", REPLAY)
def test_training_after_a_load_goes_on_bit_for_bit(algo, tmp_path):
    agent = small(algo, schedule("carebn", algo, 20)).learn(24)
    agent.save(tmp_path / "agent")
    loaded = ALGORITHMS[algo].load(tmp_path / "agent", device="cpu")
    loaded.replay_buffer = agent.replay_buffer
    loaded.set_logger(agent.logger)
    for each in (agent, loaded):
        np.random.seed(3)
        torch.manual_seed(3)
        each.train(3, 16)
        each.recalibrate()
    assert_equal_states(agent.policy, loaded.policy)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_stable_baselines3_would_train_on_wrong_statistics_and_is_refused(algo):
    policy = type(small(algo).policy)
    stock = getattr(stable_baselines3, algo.upper())
    bn = dict(bn="vanilla") if algo == "dqn" else dict(bn="vanilla", critic="ann")
    env = Match() if algo == "dqn" else Follow()
    few = dict(n_steps=16, batch_size=16) if algo == "ppo" else dict(learning_starts=4)
    more = dict(train_freq=1) if algo == "dqn" else {}
    kwargs = dict(net_arch=[8], **bn)
    agent = stock(policy, env, policy_kwargs=kwargs, device="cpu", **few, **more)
    with pytest.raises(UserError, match=r"trains in snnrl\.agents"):
        agent.learn(32)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_errors_and_gains_are_logged_by_layer(algo):
    agent = small(algo, "ca_only").learn(32)
    observations = np.stack([agent.observation_space.sample() for _ in range(30)])
    rows = errors_of_statistics(agent, observations, np.random.default_rng(0))
    found = [
        row["layer"] for row in rows if row["data"] == "evaluation" and row["phase"] == "before"
    ]
    layers = ["layer0", "layer1"]
    critics = {"td3": ["q0.", "q1."], "sac": ["q0.", "q1."], "ddpg": ["q0."], "ppo": [""]}
    own = [f"critic.{q}{layer}" for q in critics.get(algo, []) for layer in layers]
    assert found == [*layers, *own]
    seen = activity(agent, observations)
    assert {f"gain_mean/{layer}" for layer in found} <= set(seen)
    assert not any(key.startswith("firing_rate") for key in seen)


class Pictures(Match):
    """Shows pictures of 2 x 6 x 6 bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (2, 6, 6), np.uint8)

    def _observe(self) -> np.ndarray:
        self.right = int(self.np_random.integers(3))
        self.observation = np.full((2, 6, 6), 60 * self.right, np.uint8)
        return self.observation


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("algo", "critic"), [("dqn", None), ("ppo", None), ("ppo", "ann")])
def test_convolutions_are_normalised_too(algo, critic, tmp_path):
    conv = dict(channels=[3, 4], kernels=[3, 2], strides=[1, 1])
    kwargs: dict[str, Any] = dict(conv=conv)
    if critic is not None:
        kwargs |= dict(critic=critic)
    agent = small(algo, "carebn", env=Pictures(), policy_kwargs=kwargs).learn(32)
    part = agent.parts()["q_network" if algo == "dqn" else "actor"]
    shapes = {(layer.shape.features, layer.shape.is_image) for layer in norm_layers(part)}
    assert shapes == {(3, True), (4, True), (16, False), (12, False)}
    observations = np.stack([agent.observation_space.sample() for _ in range(8)])
    rows = errors_of_statistics(agent, observations, np.random.default_rng(0))
    found = {row["layer"] for row in rows}
    assert {"conv0", "conv1", "layer0", "layer1"} <= found
    agent.save(tmp_path / "agent")
    assert_equal_states(agent.policy, ALGORITHMS[algo].load(tmp_path / "agent").policy)
    agent.policy.save(tmp_path / "policy")
    assert_equal_states(agent.policy, type(agent.policy).load(tmp_path / "policy", device="cpu"))


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("bn", UNFIT)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_normalisation_that_needs_spikes_is_refused(algo, bn):
    message = rf"^bn={bn}: needs .*, which an ordinary network lacks; expected one of .*carebn"
    with pytest.raises(UserError, match=message):
        small(algo, bn)
    if algo != "dqn":
        wrong = dict(critic=dict(name="ann", bn=bn))
        with pytest.raises(UserError, match=rf"^critic {message[1:]}"):
            small(algo, "vanilla", policy_kwargs=wrong)
        with pytest.raises(UserError, match=message):
            small(algo, bn, policy="SpikingPolicy")
        with pytest.raises(UserError, match=rf"^critic {message[1:]}"):
            kwargs = dict(actor="spiking", **wrong)
            small(algo, "vanilla", policy="SpikingPolicy", policy_kwargs=kwargs)


@pytest.mark.parametrize("algo", ["td3", "sac", "ppo"])
def test_mistakes_in_the_critics_mapping(algo):
    for critic, message in (
        (dict(name="ann", time_steps=3), r"^critic parameter=time_steps: expected "),
        (dict(name="ann", bn="carbn"), r"^bn=carbn: .*'carebn'\?$"),
        ("spiking", r"^critic=spiking: expected one of ann"),
    ):
        with pytest.raises(UserError, match=message):
            small(algo, policy_kwargs=dict(critic=critic))
    with pytest.raises(UserError, match=r"^bn=vanilla: no hidden layer to normalise"):
        small(algo, policy_kwargs=dict(net_arch=[]))


def test_ppo_refreshes_by_itself():
    with pytest.raises(UserError, match=r"^critic bn parameter recalibrate_every=30: PPO "):
        small(
            "ppo",
            dict(name="carebn"),
            policy_kwargs=dict(
                critic=dict(name="ann", bn=dict(name="carebn", recalibrate_every=30))
            ),
        )
