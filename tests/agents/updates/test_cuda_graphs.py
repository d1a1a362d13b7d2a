"""Captured gradient steps compute what uncaptured ones do, bit for bit: on a tape, on a CPU."""

import json
from copy import deepcopy
from zipfile import ZipFile

import pytest
import torch

from snnrl.agents import TD3
from snnrl.agents.off_policy import ReplayAgent
from snnrl.agents.updates.cuda_graphs import EAGER_STEPS, KEPT_STEPS
from tests.agents.helpers import VARIANTS, assert_equal_states, small, task
from tests.agents.updates.tape import Tape, TapeRecorder, WaitsForTheDevice


@pytest.fixture(autouse=True)
def tapes(monkeypatch):
    """Agents capture as they do on CUDA."""
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())


def build(variant, captured=True, **arguments):
    agent = small(variant, **arguments)
    assert agent.captured is not None
    if not captured:
        agent.captured = None
    return agent


def filled(variant, captured=True, **arguments):
    agent = build(variant, captured, learning_starts=10_000, **arguments).learn(40)
    agent.set_random_seed(11)
    return agent


def both(play):
    """What ``play`` makes of an agent that captures and of one that does not."""
    return [play(captured) for captured in (True, False)]


def events(agent):
    return agent.captured._recorder.events


def assert_equal_agents(one, other):
    assert_equal_states(one.policy, other.policy)
    for ours, theirs in zip(one._optimizers(), other._optimizers(), strict=True):
        states = [list(optimizer.state.values()) for optimizer in (ours, theirs)]
        assert states[0]
        for a, b in zip(*states, strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)
    if getattr(one, "log_ent_coef", None) is not None:
        assert torch.equal(one.log_ent_coef, other.log_ent_coef)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_weights_optimisers_and_losses(variant):
    def play(captured):
        agent = filled(variant, captured)
        for _ in range(6):
            agent.train(2, 16)
        return agent

    agents = both(play)
    assert "replay" in events(agents[0])
    assert_equal_agents(*agents)
    means = [agent.loss_log.drain(0) for agent in agents]
    assert means[0] == means[1] != {}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_run_with_a_schedule_and_recalibrations(variant):
    bn = dict(name="carebn", recalibrate_every=15, recalibrate_batches=3)
    arguments = dict(policy_kwargs=dict(bn=bn), learning_rate=lambda left: 1e-2 * left)
    agents = both(lambda captured: build(variant, captured, **arguments).learn(50))
    assert events(agents[0]).count("replay") > 15
    assert_equal_agents(*agents)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("td3", dict(n_steps=3)),
        ("td3", dict(gradient_steps=3, train_freq=2)),
        ("sac", dict(ent_coef=0.2)),
        ("sac", dict(gradient_steps=4, train_freq=2, target_update_interval=2)),
        ("dqn", dict(max_grad_norm=None, target_update_interval=7)),
        ("dqn", dict(replacement=False)),
    ],
)
def test_the_same_run_with(variant, changes):
    agents = both(lambda captured: build(variant, captured, **changes).learn(50))
    assert "replay" in events(agents[0])
    assert_equal_agents(*agents)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_with_thresholds_that_move_and_evaluations(variant):
    regulation = dict(name="ahsar", momentum=1.0, step=1.0, global_step=1.0)
    given = dict(regulation=regulation, bn="none")
    if "spiking" in variant:
        given |= dict(critic=dict(name="spiking", bn="none", time_steps=3, regulation=regulation))

    def play(captured):
        agent = filled(variant, captured, policy_kwargs=given)
        actions = []
        for k in range(8):
            agent.train(2, 16)
            agent.report_evaluation(k % 3)
            actions.append(agent.predict(agent._last_obs, deterministic=True)[0])
        return agent, actions

    (one, actions), (other, expected) = both(play)
    assert "replay" in events(one)
    assert_equal_agents(one, other)
    assert all((a == b).all() for a, b in zip(actions, expected, strict=True))
    for part in one.parts().values():
        moved = {n: b for n, b in part.named_buffers() if n.endswith("gain")}
        assert moved and all(gain not in (0, 1) for gain in moved.values())


def test_first_steps_run_then_each_kind_is_captured_once():
    agent = filled("td3")
    agent.train(12, 16)
    warm = ["run"] * 2 * EAGER_STEPS
    assert events(agent) == [*warm, *["capture", "replay"] * 2, *["replay"] * 4]


def test_dqn_copies_to_its_target_outside():
    agent = filled("dqn", target_update_updates=5)
    copies, copy = [], agent._update_targets
    agent._update_targets = lambda: copies.append(agent._n_updates) or copy()
    agent.train(16, 16)
    assert copies == [5, 10, 15]
    assert events(agent).count("capture") == 1


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("variant", "name", "value"),
    [
        ("td3", "gamma", 0.5),
        ("td3", "tau", 0.3),
        ("td3", "target_policy_noise", 0.0),
        ("td3", "target_noise_clip", 0.01),
        ("sac", "gamma", 0.5),
        ("sac", "tau", 0.3),
        ("sac", "target_entropy", 2.0),
        ("dqn", "gamma", 0.5),
        ("dqn", "loss", "mse"),
        ("dqn", "max_grad_norm", 0.01),
    ],
)
def test_a_setting_that_changes_is_captured_anew(variant, name, value):
    def play(captured, change):
        agent = filled(variant, captured)
        agent.train(10, 16)
        if change:
            setattr(agent, name, value)
        agent.train(10, 16)
        return agent

    agents = both(lambda captured: play(captured, change=True))
    assert_equal_agents(*agents)
    with pytest.raises(AssertionError):
        assert_equal_agents(agents[0], play(captured=True, change=False))


def test_another_batch_size_is_captured_apart():
    def play(captured):
        agent = filled("td3", captured)
        for batch_size in (16, 8, 16):
            agent.train(8, batch_size)
        return agent

    agents = both(play)
    assert events(agents[0]).count("capture") == 4
    assert_equal_agents(*agents)


def test_parameters_that_are_set_are_learned_from():
    def play(captured):
        agent = filled("td3", captured)
        agent.train(10, 16)
        start = deepcopy(agent.get_parameters())
        agent.train(5, 16)
        agent.set_parameters(start)
        agent.train(10, 16)
        return agent

    agents = both(play)
    assert events(agents[0]).count("capture") == 4
    assert_equal_agents(*agents)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_copy_captures_steps_of_its_own(variant):
    def play(captured):
        agent = filled(variant, captured)
        agent.train(10, 16)
        copy = deepcopy(agent)
        before = deepcopy(agent.policy)
        copy.train(10, 16)
        assert_equal_states(agent.policy, before)
        agent.train(10, 16)
        return agent, copy

    captured, uncaptured = both(play)
    assert "replay" in events(captured[1])
    for one, other in zip(captured, uncaptured, strict=True):
        assert_equal_agents(one, other)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_loaded_agent_goes_on_as_an_uncaptured_one(variant, tmp_path):
    def play(captured):
        agent = filled(variant, captured)
        agent.train(10, 16)
        agent.save(tmp_path / "agent")
        loaded = type(agent).load(tmp_path / "agent", env=task(variant), device="cpu")
        loaded.replay_buffer = agent.replay_buffer
        if not captured:
            loaded.captured = None
        loaded.set_random_seed(5)
        loaded.train(10, 16)
        return loaded

    agents = both(play)
    assert "replay" in events(agents[0])
    assert_equal_agents(*agents)


def test_what_is_captured_is_not_saved(tmp_path):
    agent = filled("td3")
    agent.train(10, 16)
    agent.save(tmp_path / "agent.zip")
    with ZipFile(tmp_path / "agent.zip") as file:
        saved = json.loads(file.read("data"))
    assert not {"captured", "acting", "followers", "frozen_critic"} & saved.keys()


def test_an_agent_saved_captured_goes_on_uncaptured_and_back(tmp_path, monkeypatch):
    agent = filled("td3")
    agent.train(10, 16)
    agent.save(tmp_path / "agent")
    monkeypatch.undo()
    there = TD3.load(tmp_path / "agent", device="cpu")
    assert there.captured is None
    for optimizer in there._optimizers():
        (group,) = optimizer.param_groups
        assert (group["fused"], group["capturable"]) == (True, False)
        assert isinstance(group["lr"], float)
        assert group["lr"] == pytest.approx(1e-3)
    there.save(tmp_path / "again")
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())
    back = TD3.load(tmp_path / "again", device="cpu")
    assert back.captured is not None
    assert_equal_agents(agent, back)


@pytest.mark.parametrize(
    "changes",
    [
        dict(policy="MlpPolicy", policy_kwargs=dict(net_arch=[8])),
        dict(policy_kwargs=dict(optimizer_kwargs=dict(fused=False))),
        dict(policy_kwargs=dict(optimizer_class=torch.optim.SGD)),
    ],
    ids=["policy of SB3's", "unfused", "SGD"],
)
def test_what_the_user_chose_otherwise_is_not_captured(changes):
    if changes.get("policy"):
        agent = TD3(env=task("td3"), device="cpu", **changes)
    else:
        agent = small("td3", **changes)
    assert agent.captured is None


def test_capturable_alone_is_captured():
    agent = small(policy_kwargs=dict(optimizer_kwargs=dict(capturable=True)))
    assert agent.captured is not None
    assert not agent.actor.optimizer.param_groups[0]["fused"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("given", [dict(fused=True), dict(eps=1e-6)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_user_says_of_the_policys_optimiser_does_not_keep_it_from_capture(variant, given):
    """SAC's entropy coefficient has an optimiser that is not told."""

    def play(captured):
        agent = filled(variant, captured, policy_kwargs=dict(optimizer_kwargs=given))
        agent.train(10, 16)
        return agent

    agents = both(play)
    assert "replay" in events(agents[0])
    assert_equal_agents(*agents)


@pytest.mark.parametrize("given", [dict(fused=True), dict(fused=False), {}])
def test_on_a_cpu_the_entropy_coefficient_is_computed_as_before(given, monkeypatch):
    monkeypatch.undo()
    agent = small("sac", policy_kwargs=dict(optimizer_kwargs=given))
    (group,) = agent.ent_coef_optimizer.param_groups
    assert group["fused"] is (None if given else True)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3", "sac", "dqn"])
def test_a_copy_that_is_set_to_an_agent_that_is_not_captured_stays_captured(variant, monkeypatch):
    copy = deepcopy(filled(variant))
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: None)
    plain = small(variant)
    assert plain.captured is None
    copy.set_parameters(plain.get_parameters())
    assert copy.captured is not None
    copy.set_random_seed(5)
    copy.train(10, 16)
    assert "replay" in events(copy)
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())
    other = filled(variant)
    other.set_parameters(plain.get_parameters())
    other.captured = None
    other.set_random_seed(5)
    other.train(10, 16)
    assert_equal_agents(copy, other)


def test_an_optimiser_that_the_user_gave_later_ends_capture():
    agent = filled("td3")
    agent.train(10, 16)
    parameters = agent.get_parameters()
    weights = list(agent.actor.parameters())
    agent.actor.optimizer = torch.optim.Adam(weights, lr=1e-3)
    agent.set_parameters(parameters)
    for group in agent.actor.optimizer.param_groups:
        group["capturable"] = False
    agent.set_parameters(agent.get_parameters())
    assert agent.captured is None
    agent.train(4, 16)


def test_a_copy_records_by_itself():
    agent = filled("td3")
    copy = deepcopy(agent)
    assert copy.captured._recorder is not agent.captured._recorder
    agent.train(10, 16)
    assert events(copy) == []


def test_only_so_many_steps_are_kept():
    """A schedule that changes a number at each step."""

    def play(captured):
        agent = filled("td3", captured)
        for tau in range(1, 3 * KEPT_STEPS):
            agent.tau = tau / 100
            agent.train(2, 16)
        agent.tau = 0.005
        agent.train(12, 16)
        return agent

    agents = both(play)
    assert len(agents[0].captured._steps) == KEPT_STEPS
    assert events(agents[0])[-1] == "replay"
    assert_equal_agents(*agents)


def test_the_step_that_was_used_last_is_kept_longest():
    agent = filled("td3")
    for batch_size in range(2, 4 * KEPT_STEPS):
        agent.train(2, batch_size)
        agent.train(2, 32)
    assert events(agent).count("capture") == 2


def test_a_tape_notices_what_a_graph_could_not_hold():
    value = torch.ones(3)
    with Tape(), pytest.raises(WaitsForTheDevice):
        value.sum().item()
    numbers = [1.0]
    replay = TapeRecorder().capture(lambda: value.add_(numbers[0]))
    assert torch.equal(value, torch.ones(3))
    numbers[0] = 5.0
    replay()
    assert torch.equal(value, torch.full((3,), 2.0))
