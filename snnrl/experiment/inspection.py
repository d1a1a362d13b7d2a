"""What is seen of a trained agent in an episode: a film, spikes, membranes, gradients."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from omegaconf import DictConfig
from stable_baselines3.common.preprocessing import maybe_transpose
from torch import Tensor, nn

from snnrl.agents.base import SpikingAgent
from snnrl.agents.record import layer_name
from snnrl.analysis.inspection.layers import LayerSeen, Moment, Statistics
from snnrl.errors import UserError
from snnrl.experiment.builder import build_environment
from snnrl.experiment.diagnostics import short
from snnrl.experiment.episode_starts import EpisodeStarts
from snnrl.experiment.video import frame_of, prepare_display
from snnrl.nn.eager import eager
from snnrl.nn.inspection import LayerPass, inspect_pass, norm_of, window_of
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import BatchNorm
from snnrl.nn.norm.accumulation import Accumulation
from snnrl.nn.traces import counted
from snnrl.seeds import child_seed, own_global_generators, stream

CHUNK = 32
"""Most observations of a pass: with gradients, all time steps of all layers are in memory."""

SHOWN = 64
"""Most neurons of a layer in a raster: each is a line of pixels."""

SAMPLE = 50_000
"""About as many values of a layer make its distributions."""


class Played(NamedTuple):
    """Consecutive steps: of an episode, or of several short ones.

    :param observations: at which the agent acted, as its policy sees them, ``[n, ...]``
    :param moments: episode, step and return so far, after each action ``[n]``
    :param frames: a picture ``[H, W, 3]`` (bytes) of each observation; none without a film
    :param fps: pictures per second that the environment asks for; 0 without a film
    :param ended: whether the last episode ended with the last action
    """

    observations: np.ndarray
    moments: list[Moment]
    frames: list[np.ndarray]
    fps: float
    ended: bool

    def in_words(self) -> str:
        """Return how long was played, and the return of the first episode."""
        first = [moment for moment in self.moments if moment.episode == 1][-1]
        episodes = self.moments[-1].episode
        if episodes > 1:
            what, which = f"{episodes:,} episodes", "the first one's return"
        else:
            what, which = "an episode", "return" if self.ended else "return so far"
        steps = "1 step" if len(self.moments) == 1 else f"{len(self.moments):,} steps"
        return f"{steps} of {what}, {which} {first.total_reward:.2f}"


def can_render(cfg: DictConfig) -> bool:
    """Return whether the environment says that it draws pictures as arrays."""
    with closing(build_environment(cfg)) as env:
        return "rgb_array" in (env.metadata.get("render_modes") or ())


def play(
    agent: SpikingAgent, cfg: DictConfig, starts: EpisodeStarts, steps: int, *, film: bool
) -> Played:
    """Play the first of these episodes with the deterministic policy.

    Where it ends early the environment starts the next one by itself, as what short episodes show
    would be too little.

    :param cfg: the run's configuration
    :param steps: number of steps
    :param film: whether to draw each observation
    :raises UserError: a package or a library for rendering is missing
    """
    if film:
        prepare_display()
    limit = cfg.evaluation.max_episode_steps
    seed = child_seed(starts.seed, "evaluation")
    options = {"render_mode": "rgb_array"} if film else {}
    with own_global_generators(seed), closing(build_environment(cfg, **options)) as env:
        return _play(agent, env, starts, steps, limit, film)


def _play(
    agent: SpikingAgent,
    env: gymnasium.Env[np.ndarray, np.ndarray],
    starts: EpisodeStarts,
    steps: int,
    limit: int | None,
    film: bool,
) -> Played:
    observation, _ = starts.begin(env, 0)
    shown: list[np.ndarray] = []
    moments: list[Moment] = []
    frames: list[np.ndarray] = []
    now, ended = Moment(1, 0, 0.0), False
    while len(shown) < steps:
        if ended:
            observation, now = np.asarray(env.reset()[0]), Moment(now.episode + 1, 0, 0.0)
        if film:
            frames.append(frame_of(env, "--film", "; --film none makes a page without one"))
        seen = agent.normalize(maybe_transpose(observation[None], agent.observation_space))
        shown.append(seen[0].copy())
        actions, _ = agent.predict(seen, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(actions[0])
        now = Moment(now.episode, now.step + 1, now.total_reward + float(reward))
        moments.append(now)
        ended = bool(terminated or truncated) or now.step == limit
    fps = float(env.metadata.get("render_fps") or 0) if film else 0.0
    return Played(np.stack(shown), moments, frames, fps, ended)


def network_of(agent: SpikingAgent, asked: str) -> SpikingNetwork:
    """Return the spiking network that acts.

    :param asked: what was to be inspected, for the error
    :raises UserError: an ordinary network acts, or one without a spiking layer
    """
    network = agent.acting_network()
    if network is None or not network.stack():
        raise UserError(f"{asked}: has no spiking layer that acts; expected a run of actor=spiking")
    return network


def inspect_layers(agent: SpikingAgent, observations: np.ndarray, asked: str) -> list[LayerSeen]:
    """Return what each spiking layer of the network that acts does with observations.

    :param observations: as the policy sees them, ``[n, ...]``
    :param asked: see :func:`network_of`
    :raises UserError: see :func:`network_of`, or the membrane potentials of a neuron are unknown
    """
    network = network_of(agent, asked)
    inputs = _inputs(agent, network, observations)
    seen = {path: _Seen(layer, len(inputs)) for path, layer in _layers(network).items()}
    for x in inputs:
        for path, layer_pass in inspect_pass(network, x).items():
            seen[path].add(layer_pass)
    return [each.result(layer_name(path)) for path, each in seen.items()]


def neuron_rates(
    agent: SpikingAgent, observations: np.ndarray, asked: str
) -> dict[str, np.ndarray]:
    """Return how often each neuron fires per time step, ``[neurons]``, by the layer's name.

    :param observations: as the policy sees them, ``[n, ...]``
    :param asked: see :func:`network_of`
    """
    network = network_of(agent, asked)
    total: dict[str, np.ndarray] = {}
    for x in _inputs(agent, network, observations):
        with torch.no_grad(), evaluation_mode(network), eager(network), counted(network) as rates:
            network(x)
            for path, rate in rates().items():
                share = rate.flatten().double().numpy() * len(x) / len(observations)
                name = layer_name(path)
                total[name] = total.get(name, 0.0) + share
    return total


def progress_columns(agent: SpikingAgent, asked: str) -> dict[str, str]:
    """Return the name in progress.csv of each spiking layer that acts, by the layer's name."""
    part, _ = _acting_part(agent)
    paths = _layers(network_of(agent, asked))
    return {layer_name(path): short(part, f"network.{path}") for path in paths}


def _layers(network: SpikingNetwork) -> dict[str, SpikingLayer]:
    return {n: m for n, m in network.named_modules() if isinstance(m, SpikingLayer)}


def _acting_part(agent: SpikingAgent) -> tuple[str, nn.Module]:
    return next((name, part) for name, part in agent.parts().items() if name != "critic")


def _inputs(agent: SpikingAgent, network: SpikingNetwork, observations: np.ndarray) -> list[Tensor]:
    """Return what the network that acts takes in, in batches of about equal size, ``[B, ...]``."""
    name, part = _acting_part(agent)
    caught: list[Tensor] = []
    handle = network.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        for chunk in np.array_split(observations, -(-len(observations) // CHUNK)):
            tensor, _ = agent.policy.obs_to_tensor(chunk)
            assert isinstance(tensor, Tensor)
            with torch.no_grad(), evaluation_mode(part):
                part(*agent.part_inputs(name, tensor))
    finally:
        handle.remove()
    return caught


class _Seen:
    """What the passes of one layer add up to.

    :param batches: number of passes that will be added
    """

    def __init__(self, layer: SpikingLayer, batches: int):
        self.layer = layer
        self.norm = norm_of(layer)
        self.true = Accumulation(self.norm.statistics) if isinstance(self.norm, BatchNorm) else None
        self.size = -(-SAMPLE // batches)
        self.generator = stream(0, "inspection")
        self.fired: list[Tensor] = []
        self.inside: list[float] = []
        self.gradients: list[Tensor] = []
        self.values: dict[str, list[np.ndarray]] = {}

    def add(self, seen: LayerPass) -> None:
        """Add a pass of ``B`` inputs."""
        self.fired.append(seen.fired.bool().flatten(2).transpose(0, 1))
        self.inside += [seen.inside.double().mean().item()] * seen.inside.shape[1]
        self.gradients.append(seen.gradients.flatten(2).double().norm(dim=2))
        for name in ("before", "after", "membranes"):
            values = getattr(seen, name)
            if values is not None:
                self.values.setdefault(name, []).append(self._sample(values))
        if self.true is not None:
            assert seen.before is not None
            self.true.add(seen.before)

    def _sample(self, values: Tensor) -> np.ndarray:
        flat = values.flatten().numpy()
        if len(flat) <= self.size:
            return flat
        return np.asarray(flat[self.generator.integers(len(flat), size=self.size)])

    def result(self, name: str) -> LayerSeen:
        """Return what was seen.

        :param name: of the layer
        """
        fired = torch.cat(self.fired)
        neurons = fired.shape[2]
        shown = np.linspace(0, neurons - 1, min(neurons, SHOWN)).round().astype(int)
        # Counts, so that a neuron that always fires has a rate of exactly 1.
        rates = fired.sum((0, 1)).numpy() / (fired.shape[0] * fired.shape[1])
        return LayerSeen(
            name=name,
            rates=rates,
            raster=fired[:, :, shown].numpy(),
            inside=float(np.mean(self.inside)),
            gradients=torch.cat(self.gradients, dim=1).mean(1).numpy(),
            threshold=float(self.layer.neuron.threshold.level()),
            window=window_of(self.layer),
            of_membranes=self.norm is not None and self.norm.of_membranes,
            statistics=self._statistics(),
            membranes=np.concatenate(self.values["membranes"]),
            before=self._values("before"),
            after=self._values("after"),
        )

    def _values(self, kind: str) -> np.ndarray | None:
        parts = self.values.get(kind)
        return None if parts is None else np.concatenate(parts)

    def _statistics(self) -> Statistics | None:
        if not isinstance(self.norm, BatchNorm):
            return None
        assert self.true is not None and self.true.mean is not None and self.true.var is not None
        mean, var = self.norm.moving_mean, self.norm.moving_var
        # As in snnrl.nn.norm.error: a silent feature has no variance to divide by.
        sd = (self.true.var + self.norm.eps).sqrt()
        return Statistics(
            *_pooled(mean, var),
            *_pooled(self.true.mean, self.true.var),
            error=((mean - self.true.mean).abs() / sd).mean().item(),
        )


def _pooled(mean: Tensor, var: Tensor) -> tuple[float, float]:
    """Return mean and standard deviation of the values of equally large groups together."""
    pooled = var.mean() + mean.var(correction=0)
    return mean.mean().item(), pooled.sqrt().item()
