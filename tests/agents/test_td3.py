import pytest
import torch

from snnrl.errors import NonFiniteError

from .helpers import Watcher, small


def filled(**arguments):
    agent = small(learning_starts=1_000, policy_kwargs=dict(bn="vanilla"), **arguments)
    return agent.learn(40)


def test_targets_by_hand():
    agent = filled(gamma=0.9, target_policy_noise=0.0)
    batch = agent.replay_buffer.sample(16)
    batch = batch._replace(dones=torch.arange(16.0).reshape(16, 1) % 2)
    with torch.no_grad():
        actions = agent.actor_target(batch.next_observations)
        one, other = agent.critic_target(batch.next_observations, actions)
        # Let each critic be the lower one for some.
        agent.critic_target.qf0[-1].bias += (other - one).median()
        one, other = agent.critic_target(batch.next_observations, actions)
    assert 0 < (one < other).sum() < 16
    expected = batch.rewards + 0.9 * (1 - batch.dones) * torch.minimum(one, other)
    torch.testing.assert_close(agent._target_values(batch), expected)


def test_noise_on_the_targets_action_is_clipped():
    agent = filled(target_policy_noise=1e6, target_noise_clip=0.01)
    batch = agent.replay_buffer.sample(16)
    seen = []
    agent.critic_target.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    agent._target_values(batch)
    with torch.no_grad():
        actions = agent.actor_target(batch.next_observations)
    noise = seen[0] - actions
    assert noise.abs().max() <= 0.01 + 1e-6
    assert (noise > 0.009).any()
    assert (noise < -0.009).any()


def test_the_actor_climbs_the_first_critic():
    agent = filled(learning_rate=1e-2)
    batch = agent.replay_buffer.sample(40)
    with torch.no_grad():
        before = agent.critic.q1_forward(batch.observations, agent.actor(batch.observations)).mean()
    for _ in range(20):
        agent._update_actor(batch)
    with torch.no_grad():
        after = agent.critic.q1_forward(batch.observations, agent.actor(batch.observations)).mean()
    assert after > before


def test_learning_rates_follow_the_schedule():
    agent = filled(learning_rate=lambda remaining: 1e-3 * remaining)
    agent._current_progress_remaining = 0.25
    agent.train(1, 16)
    for network in (agent.actor, agent.critic):
        assert network.optimizer.param_groups[0]["lr"] == pytest.approx(2.5e-4)


def test_both_losses_are_logged(monkeypatch):
    agent = filled(policy_delay=2)
    logged = {}
    monkeypatch.setattr(agent.logger, "record", lambda key, value, **_: logged.update({key: value}))
    agent.train(1, 16)
    agent.dump_logs()
    assert logged["train/critic_loss"] > 0
    assert "train/actor_loss" not in logged
    agent.train(1, 16)
    agent.dump_logs()
    assert logged["train/actor_loss"] != 0
    assert logged["train/n_updates"] == 2


@pytest.mark.parametrize("loss", ["train/critic_loss", "train/actor_loss"])
def test_a_loss_that_is_not_a_number_stops_at_the_next_log(loss):
    agent = small()

    def poison(agent):
        if agent.num_timesteps == 30:
            agent.loss_log.add(loss, torch.tensor(float("nan")))

    # Episodes are 8 steps long; logs are written at the end of each.
    with pytest.raises(NonFiniteError, match=rf"^{loss} is not finite at step 32$"):
        agent.learn(100, callback=Watcher(poison), log_interval=1)


def test_a_critic_that_diverged_is_found():
    agent = small()

    def poison(agent):
        if agent.num_timesteps == 30:
            torch.nn.init.constant_(agent.critic.qf0[0].weight, float("inf"))

    with pytest.raises(NonFiniteError, match=r"^train/critic_loss is not finite at step 32$"):
        agent.learn(100, callback=Watcher(poison), log_interval=1)


@pytest.mark.parametrize(
    ("critic", "expected"), [(None, 1e-4), (2e-3, 2e-3), (lambda left: 1e-2 * left, 2.5e-3)]
)
def test_the_critic_may_have_a_rate_of_its_own(critic, expected, tmp_path):
    agent = filled(learning_rate=1e-4, critic_learning_rate=critic)
    agent.save(tmp_path / "model")
    for each in (agent, type(agent).load(tmp_path / "model", env=agent.env, device="cpu")):
        each._current_progress_remaining = 0.25
        each.set_logger(agent._logger)
        each.replay_buffer = agent.replay_buffer
        each.train(1, 16)
        assert each.actor.optimizer.param_groups[0]["lr"] == 1e-4
        assert each.critic.optimizer.param_groups[0]["lr"] == pytest.approx(expected)
