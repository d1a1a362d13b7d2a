"""Settings of the algorithms: type, meaning and bounds of each; see the schema for the others."""

from __future__ import annotations

from dataclasses import dataclass

from snnrl.experiment.config.option import option


@dataclass
class AlgoConfig:
    """Settings shared by all algorithms."""

    name: str = option("the algorithm; choose it with algo=...")
    learning_rate: float = option(
        "step size of Adam (DDPG: of the actor's, TD3: of both unless the critic has its own)",
        above=0,
    )


@dataclass
class OffPolicyConfig(AlgoConfig):
    """Settings shared by the algorithms that learn from a replay buffer."""

    buffer_size: int = option("transitions the replay buffer holds", minimum=1)
    learning_starts: int = option("environment steps with random actions first", minimum=0)
    batch_size: int = option("transitions in a minibatch", minimum=2)
    gamma: float = option("discount factor", minimum=0, maximum=1)
    train_freq: int = option("steps of each environment between updates", minimum=1)
    gradient_steps: int = option(
        "gradient steps in an update (-1: as many as environment steps since the last)", minimum=-1
    )
    normalize_observations: bool = option(
        "whether observations are normalised by their running mean and standard deviation",
        default=False,
    )
    clip_observations: float = option(
        "bound of normalised observations, in standard deviations", above=0, default=3.0
    )


@dataclass
class ContinuousConfig(OffPolicyConfig):
    """Settings shared by the off-policy algorithms for continuous actions."""

    tau: float = option("how fast target networks follow", above=0, maximum=1)
    joint_pass: bool = option(
        "whether the critic values this and the next pair in one batch (needs a critic normalised "
        "by statistics of the batch, and target_networks=false)",
        default=False,
    )
    target_networks: bool = option(
        "whether target networks value the next pair, rather than the networks that learn",
        default=True,
    )


@dataclass
class DeterministicConfig(ContinuousConfig):
    """Settings shared by the algorithms with a deterministic policy."""

    exploration_noise: float = option("standard deviation of the noise added to actions", minimum=0)


@dataclass
class TD3Config(DeterministicConfig):
    """Twin delayed DDPG."""

    critic_learning_rate: float | None = option(
        "step size of the critic's Adam (null: as the actor's)", above=0, default=None
    )
    policy_delay: int = option("critic updates for one update of the actor", minimum=1)
    target_policy_noise: float = option(
        "standard deviation of the target action's noise", minimum=0
    )
    target_noise_clip: float = option("bound of the target action's noise", minimum=0)


@dataclass
class DDPGConfig(DeterministicConfig):
    """Deep deterministic policy gradient."""

    critic_learning_rate: float = option("step size of the critic's Adam", above=0)
    critic_weight_decay: float = option("L2 penalty on the critic's weights", minimum=0)


@dataclass
class SACConfig(ContinuousConfig):
    """Soft actor-critic."""

    ent_coef: float | None = option("temperature of the entropy (null: learned)", above=0)


@dataclass
class DQNConfig(OffPolicyConfig):
    """Deep Q-network."""

    loss: str = option("loss of the values", choices=("huber", "mse"))
    max_grad_norm: float | None = option(
        "norm that gradients are clipped to (null: not clipped)", above=0
    )
    exploration_updates: int = option(
        "updates until the share of random actions is lowest", minimum=1
    )
    exploration_initial_eps: float = option(
        "share of random actions at first", minimum=0, maximum=1
    )
    exploration_final_eps: float = option(
        "share of random actions from then on", minimum=0, maximum=1
    )
    target_update_updates: int = option("updates between copies of the target network", minimum=1)
    replacement: bool = option("whether a minibatch may hold a transition twice")
    common_mode: bool = option(
        "whether an ordinary network learns what the values of all actions have in common "
        "(CMC-DSQN)",
        default=False,
    )


@dataclass
class PPOConfig(AlgoConfig):
    """Proximal policy optimisation."""

    n_steps: int = option("steps of each environment in a rollout", minimum=1)
    batch_size: int = option("transitions in a minibatch", minimum=2)
    n_epochs: int = option("passes over a rollout", minimum=1)
    gamma: float = option("discount factor", minimum=0, maximum=1)
    gae_lambda: float = option("decay of generalised advantage estimation", minimum=0, maximum=1)
    clip_range: float = option("how far the ratio of policies may be from 1", above=0)
    ent_coef: float = option("weight of the entropy in the loss", minimum=0)
    vf_coef: float = option("weight of the value's error in the loss", minimum=0)
    max_grad_norm: float = option("norm that gradients are clipped to", above=0)
    normalize_observations: bool = option(
        "whether observed vectors (not images) are normalised by their running mean and standard "
        "deviation"
    )
    normalize_rewards: bool = option(
        "whether rewards are divided by the running standard deviation of the discounted return"
    )


@dataclass
class ClassifierConfig(AlgoConfig):
    """Supervised learning of classes, by cross entropy and Adam."""

    learning_rate: float = option("step size of Adam", above=0)
    batch_size: int = option("examples in a minibatch", minimum=2)
