"""Whole gradient steps with a proxy target against the published implementation's."""

import re

import pytest

from snnrl.agents import TD3
from tests.envs import Follow

from .helpers import close, own_name, own_state, part
from .test_training import FixedMinibatches, critic_state, hidden_sizes

TOLERANCE = dict(rtol=2e-3, atol=2e-5)
NEURONS = {"train_proxy_td3": "lif", "train_proxy_td3_plif": "plif"}
PROXY_LAYERS = {"l1": "mu.0", "l2": "mu.2", "l3": "mu.4"}


def in_order(data):
    """The minibatches of all steps, by one number."""
    iterations = int(data["proxy_iters"])
    renamed = {}
    for name, value in data.items():
        if found := re.fullmatch(r"(obs|act|next_obs|reward|not_done)(\d+)_(\d+)", name):
            kind, step, k = found.groups()
            renamed[f"{kind}{int(step) * iterations + int(k)}"] = value
    return renamed


def actor_names(reference, layers):
    """With our names, a learned decay included."""
    own = {}
    for name, value in reference.items():
        name = re.sub(r"snn\.plifnodes\.(\d+)", r"layers.\1.neuron", name)
        own[own_name(name, layers)] = value
    return own


def proxy_state(reference):
    return {
        f"{PROXY_LAYERS[layer]}.{kind}": value
        for (layer, kind), value in ((name.split("."), value) for name, value in reference.items())
    }


def build(recording, data, minibatches, kernel):
    actor, proxy, critic = (part(data, f"init.{name}") for name in ("actor", "proxy", "critic"))
    outputs, _, out_population = actor["decoder.decoder.weight"].shape
    neuron = dict(name=NEURONS[recording])
    if recording.endswith("plif"):
        neuron["learning_rate"] = float(data["plif_lr"])
    target = dict(
        name="proxy",
        updates=int(data["proxy_iters"]),
        learning_rate=float(data["proxy_lr"]),
        hidden=[len(proxy[f"{layer}.bias"]) for layer in ("l1", "l2")],
    )
    agent = TD3(
        "SpikingPolicy",
        Follow(observations=data["obs0_0"].shape[1], actions=outputs),
        policy_kwargs=dict(
            net_arch=dict(
                pi=hidden_sizes(actor, "snn.hidden_layers"),
                qf=[len(critic[f"{layer}.bias"]) for layer in ("l1", "l2")],
            ),
            neuron=neuron,
            bn="none",
            encoder=dict(name="population", population=actor["encoder.mean"].shape[-1]),
            population=out_population,
            target=target,
            kernel=kernel,
        ),
        device="cpu",
        target_policy_noise=0.0,
        policy_delay=int(data["delay"]),
        tau=float(data["tau"]),
        learning_rate=float(data["lr"]),
    )
    network = agent.actor.network
    renamed = actor_names(actor, len(network.layers))
    network.load_state_dict(own_state(renamed, network.state_dict()))
    agent.proxy.load_state_dict(proxy_state(proxy))
    agent.critic.load_state_dict(critic_state(critic, "td3"))
    agent.critic_target.load_state_dict(critic_state(part(data, "init.critic_target"), "td3"))
    agent.replay_buffer = minibatches
    return agent


@pytest.mark.parametrize(
    ("recording", "kernel"),
    [
        ("train_proxy_td3", "naive"),
        ("train_proxy_td3", "native"),
        ("train_proxy_td3_plif", "naive"),
    ],
)
def test_gradient_steps_with_a_proxy(golden, recording, kernel):
    data = golden(recording)
    minibatches = FixedMinibatches(in_order(data))
    agent = build(recording, data, minibatches, kernel)
    steps = minibatches.count // int(data["proxy_iters"])
    agent.train(gradient_steps=steps, batch_size=minibatches.batch_size)
    assert not minibatches.batches

    network = agent.actor.network
    expected = {
        "actor": actor_names(part(data, "final.actor"), len(network.layers)),
        "proxy": proxy_state(part(data, "final.proxy")),
        "critic": critic_state(part(data, "final.critic"), "td3"),
        "critic_target": critic_state(part(data, "final.critic_target"), "td3"),
    }
    found = {name: getattr(agent, name) for name in ("proxy", "critic", "critic_target")}
    for name, module in {"actor": network, **found}.items():
        state = module.state_dict()
        assert state.keys() == expected[name].keys()
        for key, value in state.items():
            close(value, expected[name][key], **TOLERANCE)
