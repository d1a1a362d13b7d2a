"""Time of the published actor, 170-256-256-60, forward and backward in training mode."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from scripts.bench.agents import Sizes, sizes
from scripts.bench.floor import FLOOR, backward, forward, multiply
from scripts.bench.gate import Outcome, Tolerance
from scripts.bench.kernels import kernels
from scripts.bench.options import Options
from scripts.bench.peers import Neuron, Peer, peers
from scripts.bench.published import PUBLISHED, StepwiseActor, own_name
from scripts.bench.race import Contestant, Ready, Table, add_ratios, race
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy

FORWARD, BOTH = "forward", "forward + backward"

TOLERANCE = Tolerance(values_after_flips=0.1, trials=5)


def measure(options: Options) -> list[Table]:
    """Return a table for the forward pass, and one for forward and backward."""
    torch._dynamo.reset()
    of = sizes(options)
    widths = layer_widths(of)
    case = f"actor {'-'.join(map(str, widths))}, T={of.time_steps}, B={of.batch}"
    tables = race("actor", case, contestants(options), options, TOLERANCE)
    for table in tables:
        add_ratios(table, PUBLISHED, FLOOR)
    return tables


def layer_widths(of: Sizes) -> list[int]:
    """Return the neurons of the encoder, of the hidden layers and of the output population."""
    return [of.observations * of.population, *of.hidden, of.actions * of.population]


def make_network(of: Sizes, kernel: str, seed: int) -> SpikingNetwork:
    """Return the actor's network, in training mode."""
    torch.manual_seed(seed)
    return SpikingNetwork(
        of.observations,
        of.actions,
        of.hidden,
        neuron="lif",
        surrogate="rectangular",
        encoder=dict(name="population", population=of.population),
        norm=make_strategy("carebn"),
        time_steps=of.time_steps,
        population=of.population,
        kernel=kernel,
    )


class Actor(nn.Module):
    """Spiking network with bounded actions."""

    def __init__(self, network: SpikingNetwork):
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor) -> Tensor:
        """Return actions in [-1, 1]."""
        return torch.tanh(self.network(observation))


class PeerNeuron(nn.Module):
    """A peer's neurons in place of ours."""

    def __init__(self, run: Neuron):
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return spikes, and no state, which the peer keeps itself."""
        return self.run(x), None


def contestants(options: Options) -> list[Contestant]:
    """Return our backends, the naive network with peers' neurons, the published loop, the floor."""
    of = sizes(options)
    data = Data(of, options)

    def network(kernel: str = "naive") -> SpikingNetwork:
        return make_network(of, kernel, options.seed).to(options.device)

    def ours(kernel: str) -> Ready:
        return timed(Actor(network(kernel)), data)

    def with_peer(peer: Peer, compiled: bool) -> Ready:
        run = peer.makers["lif"]("lif")
        if compiled:
            run = torch.compile(run, fullgraph=True, dynamic=False)
        changed = network()
        for layer in changed.layers:
            layer.neuron = PeerNeuron(run)
        return timed(Actor(changed), data)

    def published() -> Ready:
        stepwise = StepwiseActor(network(), of.batch)
        return timed(stepwise, data, update=True)

    found = [Contestant(k, partial(ours, k)) for k in kernels(options)]
    for peer in [] if options.alone else peers(options.device):
        name = f"naive, neurons of {peer.name}"
        if reason := peer.cannot.get("lif"):
            found.append(Contestant(name, absent=reason))
        elif peer.version is None:
            found.append(Contestant(name, absent="not installed"))
        else:
            found.append(Contestant(name, partial(with_peer, peer, False)))
            if peer.compiles:
                compiled = f"{name}, torch.compile"
                found.append(Contestant(compiled, partial(with_peer, peer, True)))
    found.append(Contestant(PUBLISHED, published))
    found.append(Contestant(FLOOR, lambda: products(of, options.device)))
    return found


def products(of: Sizes, device: str) -> Ready:
    """Return the floor: the matrix products alone."""
    widths, rows = layer_widths(of), of.time_steps * of.batch
    there = forward(widths, rows)
    back = there + backward(widths, rows, inputs=True)
    return Ready({FORWARD: multiply(there, device), BOTH: multiply(back, device)})


class Data:
    """Seeded observations ``[B, D]`` and upstream gradients ``[B, A]``, different in each trial."""

    def __init__(self, of: Sizes, options: Options):
        self.of = of
        self.options = options

    def __getitem__(self, trial: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.options.seed + trial)
        observation = torch.randn(self.of.batch, self.of.observations, generator=generator)
        upstream = torch.randn(self.of.batch, self.of.actions, generator=generator)
        return observation.to(self.options.device), upstream.to(self.options.device)


def timed(actor: nn.Module, data: Data, **arguments: bool) -> Ready:
    """Return the forward pass without gradients, and forward and backward with them.

    Both update the moving statistics.
    """
    observation, upstream = data[0]
    untouched = deepcopy(actor)

    def run_forward() -> Tensor:
        with torch.no_grad():
            actions: Tensor = actor(observation, **arguments)
        return actions

    def run_both() -> Tensor:
        actor.zero_grad()
        actions: Tensor = actor(observation, **arguments)
        actions.backward(upstream)
        return actions

    def trial(number: int) -> Outcome:
        tried = deepcopy(untouched)
        observation, upstream = data[number]
        actions: Tensor = tried(observation, **arguments)
        actions.backward(upstream)
        return outcome(tried, actions)

    return Ready({FORWARD: run_forward, BOTH: run_both}, trial)


def outcome(actor: nn.Module, actions: Tensor) -> Outcome:
    """Return actions, gradients of all parameters and moving statistics, in the order of layers.

    The gradient of a bias before a normalisation is 0 except for rounding, so it is left out.
    """
    gradients = {name: p.grad for name, p in actor.named_parameters() if p.grad is not None}
    state = dict(actor.state_dict())
    if isinstance(actor, StepwiseActor):
        gradients = {own_name(name): g for name, g in gradients.items()}
        state = {own_name(name): value for name, value in state.items()}
    values = {"actions": actions}
    values |= {
        f"gradient of {name}": gradient.squeeze()
        for name, gradient in sorted(gradients.items())
        if not name.endswith("linear.bias")
    }
    values |= {name: state[name].squeeze() for name in sorted(state) if ".moving_" in name}
    return Outcome({name: value.detach() for name, value in values.items()})
