"""Time of neurons alone, forward and backward, and their share of the memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from scripts.bench.gate import Outcome, Tolerance
from scripts.bench.kernels import DYNAMICS, kernels, operators
from scripts.bench.options import Options, Shape
from scripts.bench.peers import Peer, peers
from scripts.bench.race import OTHER, Contestant, Ready, Table, race
from snnrl.ops.dynamics import Dynamics, FusedLayer

SHAPES: tuple[Shape, ...] = ((5, 256, 256), (5, 1, 256), (8, 64, 4096))
LARGE: Shape = (8, 64, 65536)
QUICK: tuple[Shape, ...] = ((3, 4, 8),)
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

FORWARD, BOTH = "forward", "forward + backward"
TENSORS = {FORWARD: 2, BOTH: 5}
"""Tensors ``[T, B, N]`` that memory must transfer: currents in, spikes out; backward also currents
and upstream gradient in, gradient out."""

EPS = 1e-5
COPY = "copy"

# In bf16 a gradient has eight significant bits.
TOLERANCES = {"fp32": Tolerance(), "bf16": Tolerance(values=1e-2, values_after_flips=2e-2)}


def measure(options: Options) -> list[Table]:
    """Return a table for each kind of neuron, shape, dtype and direction."""
    tables = []
    for shape, type_name in cases(options):
        for kind in options.kinds:
            torch._dynamo.reset()
            case = f"{kind} {list(shape)} {type_name}"
            note = "bytes: those that a copy of the same tensor moves in that time"
            made = race(
                "operators",
                case,
                contestants(kind, shape, TYPES[type_name], options),
                options,
                TOLERANCES[type_name],
                note,
            )
            for table in made:
                add_bandwidth(table, TYPES[type_name].itemsize)
            tables += made
    return tables


def cases(options: Options) -> list[tuple[Shape, str]]:
    """Return shapes and dtypes; bf16 and the large shape on CUDA only."""
    given = options.shapes or (QUICK if options.quick else SHAPES)
    found = [(shape, "fp32") for shape in given]
    if options.device == "cuda":
        large = given if options.shapes or options.quick else (LARGE,)
        found += [(shape, "fp32") for shape in large if shape not in given]
        found += [(shape, "bf16") for shape in large]
    return found


def contestants(kind: str, shape: Shape, dtype: torch.dtype, options: Options) -> list[Contestant]:
    """Return our backends, the peers and a copy."""
    data = Data(shape, dtype, options)
    found = [Contestant(kernel, partial(ours, kernel, kind, data)) for kernel in kernels(options)]
    if kind != "normalised-lif" and not options.alone:
        for peer in peers(options.device):
            found += of_peer(peer, kind, data)
    target = torch.empty_like(data.x)
    copy: Callable[[], object] = lambda: target.copy_(data.x)  # noqa: E731
    found.append(Contestant(COPY, lambda: Ready({FORWARD: copy, BOTH: copy})))
    return found


class Data:
    """Seeded currents and upstream gradients.

    Some currents bring a membrane exactly to the threshold, where it must not spike.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype, options: Options):
        generator = torch.Generator().manual_seed(options.seed)

        def normal(*sizes: int) -> Tensor:
            return torch.randn(sizes, generator=generator)

        def on_device(values: Tensor, dtype: torch.dtype = dtype) -> Tensor:
            return values.to(options.device, dtype)

        self.x = on_device(0.5 * normal(*shape) + 0.1)
        self.x[0, 0, ::7] = 0.5
        self.upstream = on_device(normal(*shape))
        self.gamma = on_device(0.25 + 0.05 * normal(shape[2]), torch.float32)
        self.beta = on_device(0.25 + 0.05 * normal(shape[2]), torch.float32)


def ours(kernel: str, kind: str, data: Data) -> Ready:
    """Return one of our backends."""
    dynamics: Dynamics = DYNAMICS[kind]
    run = operators(kernel)
    if kind != "normalised-lif":
        return timed(lambda x: run.neuron(x, dynamics), {"x": data.x}, data.upstream)

    def normalised(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return run.normalised_neuron(x, FusedLayer(None, gamma, beta, EPS, dynamics))[0]

    inputs = {"x": data.x, "gamma": data.gamma, "beta": data.beta}
    return timed(normalised, inputs, data.upstream)


def of_peer(peer: Peer, kind: str, data: Data) -> list[Contestant]:
    """Return a peer as it is and, if that works, compiled."""
    if reason := peer.cannot.get(kind):
        return [Contestant(peer.name, absent=reason)]
    if peer.version is None:
        return [Contestant(peer.name, absent="not installed")]

    def prepare(compiled: bool) -> Ready:
        run = peer.makers[kind](kind)
        if compiled:
            run = torch.compile(run, fullgraph=True, dynamic=False)
        return timed(run, {"x": data.x * peer.scale}, data.upstream, peer.scale)

    found = [Contestant(peer.name, lambda: prepare(False))]
    if peer.compiles:
        found.append(Contestant(f"{peer.name}, torch.compile", lambda: prepare(True)))
    return found


def timed(
    run: Callable[..., Tensor], inputs: dict[str, Tensor], upstream: Tensor, scale: float = 1.0
) -> Ready:
    """Return the forward pass without gradients, and forward and backward with them.

    :param scale: factor from our input to ``inputs``; gradients are compared for our input
    """
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}

    def forward() -> Tensor:
        with torch.no_grad():
            return run(*inputs.values())

    def both() -> Tensor:
        for leaf in leaves.values():
            leaf.grad = None
        spikes = run(*leaves.values())
        spikes.backward(upstream)
        return spikes

    def outcome(trial: int) -> Outcome:
        spikes = {"spikes without gradients": forward(), "spikes": both().detach()}
        gradients = {
            f"gradient of {name}": scale * leaf.grad
            for name, leaf in leaves.items()
            if leaf.grad is not None
        }
        return Outcome(gradients, spikes)

    return Ready({FORWARD: forward, BOTH: both}, outcome)


def add_bandwidth(table: Table, itemsize: int) -> None:
    """Add the bytes per element and step, and the share of the copy's bandwidth."""
    copy = table.row(COPY)
    if copy is None:
        return
    needed = TENSORS[BOTH if table.case.endswith(BOTH) else FORWARD] * itemsize
    for row in table.rows:
        if row.seconds:
            # A copy reads and writes each element once.
            cost = row.median / copy.median * 2 * itemsize
            row.figures["bytes/element-step"] = cost
            if row.status != OTHER:
                row.figures["share of copy bandwidth"] = needed / cost
