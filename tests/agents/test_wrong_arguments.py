"""A user's mistake is one line that names the key."""

import gymnasium as gym
import numpy as np
import pytest

from snnrl.errors import UserError
from tests.envs import Follow, Match, MatchImage

from .helpers import ALGORITHMS, small
from .ppo_helpers import small_ppo

CONV = dict(channels=[4], kernels=[3], strides=[1])
CONTINUOUS = ["td3", "ddpg", "sac"]


class Pictures(Follow):
    """Shows images and takes continuous actions."""

    def __init__(self):
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 255, (1, 8, 8), np.uint8)


def refused(message, variant, env=None, **arguments):
    with pytest.raises(UserError, match=message) as caught:
        small(variant, env, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.quick_cases(46)
@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(neurn="lif"), r"^policy_kwargs=neurn: expected one of .*'neuron'\?$"),
        (dict(neuron="liff"), r"^neuron=liff: .*'lif'\?$"),
        (dict(neuron=dict(name="lif", deca=0.5)), r"^neuron parameter=deca: .*'decay'\?$"),
        (dict(bn="carbn"), r"^bn=carbn: .*'carebn'\?$"),
        (dict(bn=dict(name="carebn", smothing=0.5)), r"^bn parameter=smothing: .*'smoothing'\?$"),
        (dict(surrogate="relu"), r"^surrogate=relu: expected one of .*rectangular, "),
        (dict(encoder="populaton"), r"^encoder=populaton: .*'population'\?$"),
        (dict(readout="linar"), r"^readout=linar: .*'linear'\?$"),
        (dict(lateral="intr"), r"^lateral=intr: .*'intra'\?$"),
        (dict(lateral="intra", readout="linear"), "^lateral=intra: .* readout=linear has none; "),
        (dict(kernel="compil"), r"^kernel=compil: .*'compile'\?$"),
        (dict(time_steps=0), r"^time_steps=0: expected at least 1$"),
        (dict(population=0, readout="population"), r"^population=0: expected at least 1$"),
        (dict(net_arch=[8, 0]), r"^net_arch=0: expected at least 1$"),
    ],
)
def test_a_policy_keyword_that_does_not_fit(algo, wrong, message):
    refused(message, algo, policy_kwargs=wrong)


@pytest.mark.parametrize("algo", ["td3", "dqn"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(time_steps=2.5), r"^time_steps=2.5: expected an integer$"),
        (dict(time_steps=True), r"^time_steps=True: expected an integer$"),
        (dict(time_steps="5"), r"^time_steps=5: expected an integer$"),
        (dict(time_steps=None), r"^time_steps=None: expected an integer$"),
        (dict(population=2.5), r"^population=2.5: expected an integer$"),
        (dict(population="10"), r"^population=10: expected an integer$"),
        (dict(population=False), r"^population=False: expected an integer$"),
        (dict(bn=None), r"^bn=None: expected a name or dict\(name=.*; did you mean 'none'\?$"),
        (dict(neuron=None), r"^neuron=None: expected a name or dict\(name="),
        (dict(surrogate=3), r"^surrogate=3: expected a name or dict\(name="),
        (dict(encoder=["direct"]), r"^encoder=\['direct'\]: expected a name or dict\(name="),
        (
            dict(bn=dict(momentum=0.5)),
            r"^bn=\{'momentum': 0.5\}: has no name; expected ",
        ),
        (dict(readout=None), r"^readout=None: expected one of "),
        (dict(kernel=None), r"^kernel=None: expected one of "),
        (dict(net_arch="8"), r"^net_arch=8: expected numbers of neurons"),
    ],
)
def test_a_value_of_another_type(algo, wrong, message):
    refused(message, algo, policy_kwargs=wrong)


@pytest.mark.parametrize("algo", CONTINUOUS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(actor="snn"), r"^actor=snn: expected one of spiking, ann"),
        (dict(critic="spking"), r"^critic=spking: .* did you mean 'spiking'\?$"),
        (dict(critic=dict(bn="carebn")), r"has no name; expected dict\(name="),
        (
            dict(critic=dict(name="ann", time_steps=3)),
            r"^critic parameter=time_steps: expected one of bn",
        ),
        (
            dict(critic=dict(name="spiking", timesteps=3)),
            r"^critic parameter=timesteps: .*'time_steps'\?$",
        ),
        (dict(critic=dict(name="spiking", bn="carbn")), r"^bn=carbn: .*'carebn'\?$"),
        (dict(critic=dict(name="spiking", time_steps=0)), r"^time_steps=0: expected at least 1$"),
        (dict(conv=CONV), r"^policy_kwargs=conv: expected one of "),
        (dict(actor=None), r"^actor=None: expected one of spiking, ann"),
        (dict(critic=None), r"^critic=None: expected a name or dict\(name="),
        (dict(critic=dict(name="spiking", bn=None)), r"^bn=None: .* did you mean 'none'\?$"),
        (dict(critic=dict(name="spiking", time_steps=2.5)), r"^time_steps=2.5: expected an int"),
        (dict(critic=dict(name="spiking", time_steps=None)), r"^time_steps=None: expected an int"),
        (dict(n_critics=0), r"^n_critics=0: expected at least 1$"),
        (dict(n_critics=2.0), r"^n_critics=2.0: expected an integer$"),
        (dict(n_critics="2"), r"^n_critics=2: expected an integer$"),
    ],
)
def test_an_actor_or_critic_that_does_not_fit(algo, wrong, message):
    refused(message, algo, policy_kwargs=wrong)


@pytest.mark.parametrize("algo", CONTINUOUS)
def test_images_are_not_for_continuous_control(algo):
    refused(r"^SpikingPolicy: images \(1, 8, 8\) are for DQN and PPO; ", algo, Pictures())


def test_a_spiking_actor_has_no_gsde():
    refused(r"^use_sde=True: a spiking actor has no gSDE; expected False$", "sac", use_sde=True)
    agent = small("sac", use_sde=True, policy_kwargs=dict(actor="ann", critic="spiking"))
    assert agent.learn(20)._n_updates == 4


@pytest.mark.parametrize("key", ["actor", "critic"])
def test_dqn_has_neither_actor_nor_critic(key):
    refused(rf"^policy_kwargs={key}: expected one of ", "dqn", policy_kwargs={key: "spiking"})


@pytest.mark.parametrize(
    ("env", "wrong", "message"),
    [
        (Match, dict(conv=CONV), r"^conv.*(vector|shape \(3,\))"),
        (MatchImage, {}, r"^conv=None: .*images; expected dict\(channels"),
        (MatchImage, dict(encoder="population"), r"^conv=None: "),
        (
            MatchImage,
            dict(conv=CONV, encoder="population"),
            r"^encoder=population: .*images; expected direct or latency or poisson$",
        ),
        (
            MatchImage,
            dict(conv=CONV | dict(kernels=[9])),
            r"^conv.kernels=\[9\]: .* at most 8 there, or larger images than 8 x 8$",
        ),
        (MatchImage, dict(conv=CONV | dict(kernel=[3])), r"^conv parameter=kernel: .*'kernels'"),
        (MatchImage, dict(conv=dict(channels=[4], kernels=[3])), r"^conv.strides: is missing"),
    ],
)
def test_images_of_dqn(env, wrong, message):
    refused(message, "dqn", env(), policy_kwargs=wrong)


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (CONV | dict(kernels=[9]), r"^conv.kernels=\[9\]: "),
        (CONV | dict(kernel=[3]), r"^conv parameter=kernel: "),
        (5, r"^conv=5: expected dict\(channels=\[...\], kernels"),
        ("nature", r"^conv=nature: expected dict\(channels="),
        (CONV | dict(kernels=3), r"^conv.kernels=3: expected an integer for each layer$"),
        (CONV | dict(strides=["1"]), r"^conv.strides=\['1'\]: expected an integer for each layer$"),
        (
            CONV | dict(channels=[4.5]),
            r"^conv.channels=\[4.5\]: expected an integer for each ",
        ),
    ],
)
def test_images_of_the_ordinary_network(conv, message):
    from snnrl.agents import DQN

    with pytest.raises(UserError, match=message):
        DQN("AnnPolicy", MatchImage(), policy_kwargs=dict(conv=conv), device="cpu")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(time_steps="5"), r"^time_steps=5: expected an integer$"),
        (dict(population=2.5), r"^population=2.5: expected an integer$"),
        (dict(bn=None), r"^bn=None: .* did you mean 'none'\?$"),
        (dict(critic=dict(bn="carebn")), r"^critic=\{'bn': 'carebn'\}: has no name"),
    ],
)
def test_a_policy_keyword_that_does_not_fit_ppo(wrong, message):
    with pytest.raises(UserError, match=message):
        small_ppo(policy_kwargs=wrong)


def test_integers_of_numpy_are_integers():
    agent = small("td3", policy_kwargs=dict(time_steps=np.int64(2), n_critics=np.int32(1)))
    assert agent.actor.network.encoder.time_steps == 2


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_observations_that_are_not_one_array(algo):
    class Env(gym.Env):
        observation_space = gym.spaces.Dict(a=gym.spaces.Box(-1, 1, (2,)))
        action_space = gym.spaces.Discrete(2) if algo == "dqn" else gym.spaces.Box(-1, 1, (1,))

    refused(r"observations that are one array \(Box\), not Dict", algo, Env())


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_misspelt_policy(algo):
    agent = type(small(algo))
    with pytest.raises(UserError, match=r"^policy=SpikinPolicy: .*'SpikingPolicy'\?$"):
        agent("SpikinPolicy", Follow())


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_each_expected_keyword_is_named_once(algo):
    with pytest.raises(UserError) as caught:
        small(algo, policy_kwargs=dict(neurn="lif"))
    listed = str(caught.value).split("one of ")[1].split(";")[0].split(", ")
    assert len(listed) == len(set(listed))


def test_layers_as_the_configuration_names_them():
    refused("^policy_kwargs=hidden: expected net_arch, ", "td3", policy_kwargs=dict(hidden=[8]))
