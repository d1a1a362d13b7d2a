"""DQN on images: convolutions in front of the hidden layers, spiking or ordinary."""

import numpy as np
import torch
import torch.nn.functional as F

from snnrl.agents import DQN
from snnrl.nn.activity import activity
from snnrl.nn.norm import norm_layers
from tests.envs import MatchImage

from .helpers import assert_equal_states, buffers, changed, small

CONV = dict(channels=[4, 5], kernels=[4, 2], strides=[2, 1])
OFTEN = dict(name="carebn", recalibrate_every=10, recalibrate_batches=2)


def agent_of(env=None, **policy_kwargs):
    return small("dqn", env or MatchImage(), policy_kwargs=dict(conv=CONV) | policy_kwargs)


def test_images_are_scaled_as_in_sb3_and_keep_their_shape():
    agent = agent_of()
    seen = []
    agent.q_net.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) * 4
    agent.predict(image, deterministic=True)
    assert torch.equal(seen[0], torch.as_tensor(image).float()[None] / 255)
    assert list(activity(agent.q_net.network, seen[0]).rates) == [
        "conv.layers.0",
        "conv.layers.1",
        "layers.0",
        "layers.1",
    ]


def test_it_learns_saves_and_goes_on(tmp_path):
    agent = agent_of(bn=OFTEN)
    before = [parameter.clone() for parameter in agent.q_net.parameters()]
    agent.learn(35)
    assert agent.recalibrated_at == {"q_network": 30}
    for old, (name, new) in zip(before, agent.q_net.named_parameters(), strict=True):
        assert not torch.equal(old, new), name
    agent.save(tmp_path / "model")
    loaded = DQN.load(tmp_path / "model", env=MatchImage(), device="cpu")
    assert_equal_states(agent.policy, loaded.policy)
    loaded.learn(20)
    agent.policy.save(tmp_path / "policy")
    assert_equal_states(agent.policy, type(agent.policy).load(tmp_path / "policy", device="cpu"))


def test_statistics_of_convolutions_move_in_the_own_loss_and_are_recalibrated():
    agent = agent_of(bn=dict(name="carebn", recalibrate_every=None)).learn(30)
    layers = norm_layers(agent.q_net)
    assert [len(layer.moving_mean) for layer in layers] == [4, 5, 16, 12]
    before = buffers(agent.q_net)
    agent.learning_starts, agent.gradient_steps = 0, 0
    agent.learn(5)
    assert not changed(before, agent.q_net)
    agent.train(1, 16)
    assert changed(before, agent.q_net) == set(before)
    before = buffers(agent.q_net)
    agent.recalibrate()
    moved = {name for name in before if name.endswith(("moving_mean", "moving_var"))}
    assert changed(before, agent.q_net) == moved


def ordinary(**policy_kwargs):
    return DQN(
        "AnnPolicy",
        MatchImage(),
        policy_kwargs=dict(net_arch=[16, 12], conv=CONV) | policy_kwargs,
        learning_starts=16,
        batch_size=16,
        buffer_size=100,
        train_freq=1,
        seed=0,
        device="cpu",
    )


def test_the_ordinary_network_has_the_same_shape():
    spiking, ann = agent_of(), ordinary()
    shapes = [
        sorted(tuple(p.shape) for p in agent.q_net.parameters() if p.dim() > 1)
        for agent in (spiking, ann)
    ]
    assert shapes[0] == shapes[1]
    assert (4, 1, 4, 4) in shapes[0]
    assert ann.parts() == {}
    assert ann.kernel == "naive"


def test_the_ordinary_convolutions_by_hand():
    ann = ordinary()
    image = torch.randint(256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    first, second = (m for m in ann.q_net.modules() if isinstance(m, torch.nn.Conv2d))
    x = F.relu(F.conv2d(image / 255, first.weight, first.bias, stride=2))
    x = F.relu(F.conv2d(x, second.weight, second.bias, stride=1)).flatten(1)
    torch.testing.assert_close(ann.q_net(image), ann.q_net.q_net(x))


def test_the_ordinary_network_learns_and_loads(tmp_path):
    agent = ordinary()
    before = next(agent.q_net.parameters()).clone()
    agent.learn(25)
    assert not torch.equal(before, next(agent.q_net.parameters()))
    agent.save(tmp_path / "model")
    loaded = DQN.load(tmp_path / "model", env=MatchImage(), device="cpu")
    assert_equal_states(agent.policy, loaded.policy)
