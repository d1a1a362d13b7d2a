"""Every setting: its type, its meaning and its bounds. The values are in ``configs/``.

Those of algorithms are in :mod:`snnrl.experiment.config.algorithms`. The settings of components are
not listed: they are the parameters of their constructors, of
which :mod:`snnrl.experiment.config.nodes` makes types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from snnrl.experiment.config.algorithms import AlgoConfig, ClassifierConfig
from snnrl.experiment.config.option import option


@dataclass
class EnvConfig:
    """The environment."""

    id: str = option("gymnasium id of the environment")
    observation: str = option(
        "how an Atari game is observed",
        choices=("default", "ram", "pixels"),
        default="default",
    )
    n_envs: int = option(
        "parallel training environments (subprocesses if more than one)",
        minimum=1,
        maximum=100,
        default=1,
    )
    kwargs: dict[str, Any] = option(  # noqa: RUF009
        "arguments of the environment, such as env.kwargs.max_episode_steps=500", empty=dict
    )
    wrappers: list[Any] = option(  # noqa: RUF009
        "wrappers around it, of gymnasium or module:Class: [{name: FrameStackObservation, ...}]",
        empty=list,
    )


@dataclass
class DataConfig:
    """Settings shared by all data sets."""

    name: str = option("the data set; choose it with data=...")
    examples: int = option(
        "training examples of an epoch, the first ones of the training split", minimum=2
    )


@dataclass
class FilesConfig(DataConfig):
    """A data set that is read from files."""

    root: str = option("folder that the data set is in, or is fetched to")


@dataclass
class EventsConfig(FilesConfig):
    """A data set of events, which are counted in frames."""

    frames: int = option("frames of an input, as many as time steps", minimum=1)
    size: int = option(
        "cells on each side of a frame, at most the sensor's pixels", minimum=1, maximum=128
    )


@dataclass
class ActorConfig:
    """Settings shared by all actors; an ordinary actor has no others, and ``bn``."""

    name: str = option("the actor; choose it with actor=...")
    hidden: list[int] = option(  # noqa: RUF009
        "neurons of each hidden layer", minimum=1, maximum=1_000_000
    )


@dataclass
class SpikingActorConfig(ActorConfig):
    """A spiking network."""

    time_steps: int = option("time steps T of one forward pass", minimum=1)
    population: int = option("output neurons for each output", minimum=1)
    readout: str = option(
        "how the last layer is read out (auto: linear for DQN, population otherwise)",
        choices=("auto", "population", "linear", "membrane"),
    )
    membrane_value: str = option(
        "membrane potential that readout=membrane reads: the last, the one of largest magnitude, "
        "or the mean",
        choices=("last", "max", "mean"),
        default="last",
    )
    membrane_decay: float = option(
        "share of the membrane potential that readout=membrane keeps in a step",
        minimum=0,
        maximum=1,
        default=1.0,
    )
    lateral: str = option(
        "connections within the output populations, from each step to the next (ILC-SAN), and the "
        "published variants",
        choices=(
            "none",
            "intra",
            "intra_no_bias",
            "intra_no_self",
            "intra_no_lateral",
            "intra_only_lateral",
            "intra_only_self",
            "intra_only_bias",
        ),
        default="none",
    )


@dataclass
class NeuronConfig:
    """Settings shared by all neurons; each adds the parameters of its constructor."""

    name: str = option("the neuron; choose it with neuron=...")


@dataclass
class SurrogateConfig:
    """Settings shared by all surrogates; each adds the parameters of its constructor."""

    name: str = option("derivative in place of the spike's; choose it with surrogate=...")


@dataclass
class EncoderConfig:
    """Settings shared by all encoders; each adds the parameters of its constructor."""

    name: str = option("from observations to input; choose it with encoder=...")


@dataclass
class ConvConfig:
    """Settings shared by all choices of convolutions; ``none`` has no others."""

    name: str = option("convolutions in front of the hidden layers; choose them with conv=...")


@dataclass
class ConvolutionsConfig(ConvConfig):
    """Convolutions of images, one list entry per layer."""

    channels: list[int] = option(  # noqa: RUF009
        "output channels of each convolution", minimum=1, maximum=10_000
    )
    kernels: list[int] = option(  # noqa: RUF009
        "side of each convolution's kernel", minimum=1
    )
    strides: list[int] = option("stride of each convolution", minimum=1)  # noqa: RUF009
    paddings: list[int] | None = option(  # noqa: RUF009
        "zeros on each side of each convolution's input (null: none)", minimum=0, default=None
    )
    pools: list[int] | None = option(  # noqa: RUF009
        "side of the squares over which each convolution's output is averaged (null: none)",
        minimum=1,
        default=None,
    )


@dataclass
class BNConfig:
    """Settings shared by all normalisations; each adds the parameters of its constructor and those
    of :class:`snnrl.nn.norm.strategy.Schedule`."""

    name: str = option("the normalisation strategy; choose it with bn=...")


@dataclass
class LossConfig:
    """Settings shared by all loss terms; ``none`` has no others."""

    name: str = option("what is added to the loss of a spiking actor; choose it with loss=...")


@dataclass
class RegulationConfig:
    """Settings shared by all regulations; ``none`` has no others."""

    name: str = option("what moves an actor's firing thresholds; choose it with regulation=...")


@dataclass
class CriticConfig:
    """Settings shared by all critics; ``none`` has no others."""

    name: str = option("the critic; choose it with critic=...")


@dataclass
class AnnCriticConfig(CriticConfig):
    """An ordinary critic, with a normalisation of its own if one is chosen."""

    hidden: list[int] = option(  # noqa: RUF009
        "units of each hidden layer", minimum=1, maximum=1_000_000
    )
    bn: BNConfig | None = option("normalisation of the critic", default=None)  # noqa: RUF009


@dataclass
class SpikingCriticConfig(AnnCriticConfig):
    """A spiking critic, with the actor's neuron, surrogate and encoder."""

    time_steps: int = option("time steps T of one forward pass", minimum=1)
    bn: BNConfig = field(default_factory=BNConfig)
    loss: LossConfig | None = option(  # noqa: RUF009
        "what is added to the critic's loss", default=None
    )
    regulation: RegulationConfig | None = option(  # noqa: RUF009
        "what moves the critic's firing thresholds", default=None
    )


@dataclass
class TargetConfig:
    """Settings shared by all targets; ``soft`` has no others."""

    name: str = option("what chooses the next action in a critic's loss; choose it with target=...")


@dataclass
class ProxyConfig(TargetConfig):
    """An ordinary network that imitates the actor."""

    updates: int = option(
        "gradient steps of the proxy in each gradient step, each on its own minibatch", minimum=1
    )
    learning_rate: float = option(
        "step size of the proxy's Adam, constant (default: published for the neuron)", above=0
    )
    hidden: list[int] = option(  # noqa: RUF009
        "units of each hidden layer of the proxy (default: published for the neuron)",
        minimum=1,
        maximum=1_000_000,
    )


@dataclass
class KernelConfig:
    """An implementation of the operators; see :mod:`snnrl.ops.backend`."""

    name: str = option("what computes the network; choose it with kernel=...")


@dataclass
class TrackingConfig:
    """Settings shared by all trackers; ``none`` and TensorBoard have no others."""

    name: str = option("where curves go besides the csv files; choose it with tracking=...")


@dataclass
class WandbConfig(TrackingConfig):
    """Weights & Biases."""

    mode: str = option(
        "W&B: auto is online when logged in and offline otherwise",
        choices=("auto", "online", "offline", "disabled"),
    )
    project: str = option("W&B project")
    entity: str | None = option("W&B user or team (null: your default)")


@dataclass
class EvaluationConfig:
    """Frequency and length of evaluations."""

    every: int = option("environment steps between evaluations", minimum=1)
    episodes: int = option("episodes in an evaluation", minimum=1, maximum=10_000)
    max_episode_steps: int | None = option(
        "environment steps after which an evaluation episode is truncated (null: the environment "
        "ends it)",
        minimum=1,
    )


@dataclass
class CheckpointConfig:
    """Frequency of checkpoints."""

    every: int = option("environment steps between checkpoints", minimum=1)


@dataclass
class RunConfig:
    """All settings of ``python -m snnrl.train``."""

    env: EnvConfig = field(default_factory=EnvConfig)
    algo: AlgoConfig = field(default_factory=AlgoConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    conv: ConvConfig = field(default_factory=ConvConfig)
    bn: BNConfig = field(default_factory=BNConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    regulation: RegulationConfig = field(default_factory=RegulationConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    kernel: KernelConfig = field(default_factory=KernelConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    # numpy's seeds end at 2**32 - 1, and seeding=additive adds small offsets to the seed.
    seed: int = option("seed of everything random", minimum=0, maximum=4_000_000_000)
    seeding: str = option(
        "seeds of evaluation, workers, re-calibration: independent streams, or sums as in "
        "earlier versions",
        choices=("independent", "additive"),
    )
    total_steps: int = option("total environment steps, including the random ones", minimum=1)
    device: str = option("auto, cpu, cuda or cuda:N")
    # Beyond it the system may refuse to start threads, and torch's library aborts the process.
    threads: int | None = option(
        "CPU threads, null: every core (at most 8) for kernel=native, one for others and in "
        "sweeps with several runs at a time",
        minimum=1,
        maximum=1024,
    )
    deterministic: bool = option(
        "whether torch uses only kernels that compute the same bits each time, on CUDA; on a CPU "
        "all do"
    )
    log_every: int = option("environment steps between rows of progress.csv", minimum=1)
    results_dir: str = option("folder of the run folders")
    experiment_name: str | None = option(
        "a word in the run folder's name; an experiment sets its own"
    )
    plugins: list[str] = option(  # noqa: RUF009
        "modules of your own that register components: plugins=[my_lab.spiking]", empty=list
    )
    retry: bool = option(
        "whether to retry runs that failed twice with the same error at the same step"
    )


@dataclass
class ClassifyConfig(RunConfig):
    """All settings of ``python -m snnrl.classify``.

    A step is a training example. ``env``, ``critic`` and ``target`` follow from the others.
    """

    data: DataConfig = field(default_factory=DataConfig)
    algo: ClassifierConfig = field(default_factory=ClassifierConfig)
    epochs: int = option("passes over the training examples", minimum=1)


PLACES = {"critic.bn": "bn", "critic.loss": "loss", "critic.regulation": "regulation"}
"""Further places of a group: ``bn@critic.bn=carebn``."""
