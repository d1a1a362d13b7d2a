#!/usr/bin/env python3
"""Compare every Triton operator with the naive one on a real GPU.

    python scripts/bench/check_kernels.py [PART/PARTS]

Forward and backward are checked, in float32 and bfloat16. Spikes must equal those of the naive
operators, gradients must be close to autograd's, and a second run must give the same bits. One
captured CUDA graph is replayed, too. The output is a table. The exit status is 1 on any mismatch, 2
without a CUDA device. Most of the time is compilation, so several processes with a part of the
cases each (1/6, 2/6, ...) finish sooner.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnrl.errors import UserError, exit_status
from snnrl.nn.norm.confidence import ConfidenceUpdate, CorrectedConfidenceUpdate, KalmanUpdate
from snnrl.ops.clif import CLIFConstants
from snnrl.ops.confidence import Variant
from snnrl.ops.dynamic import DynamicConstants
from snnrl.ops.dynamics import Dynamics, run
from snnrl.ops.lif import LIFConstants
from snnrl.ops.surrogate import Surrogate
from snnrl.ops.triton import check_device, register

NEURONS: dict[str, tuple[float, ...]] = {
    "lif": LIFConstants(decay=0.75),
    "clif": CLIFConstants(current_decay=0.5, decay=0.75),
    "dynamic": DynamicConstants(current_decay=0.5, tv=-0.172, tu=0.529, tr=0.021, ts=0.132),
}
"""Published constants of each neuron."""

SCALES = {
    "rectangular": 0.5,
    "sigmoid": 4.0,
    "tanh": 2.0,
    "triangle": 0.5,
    "atan": 2.0,
    "fast_sigmoid": 10.0,
    "learnable": 4.0,
}
ODD = (5, 33, 257)
SHAPES = ((5, 256, 256), (8, 64, 4096), (1, 256, 256), (40, 16, 128), ODD, (5, 4096, 64))
"""In order: published, wide, one step, more steps than are unrolled, no multiples of a block, more
rows than one program handles."""

EPS, THRESHOLD = 1e-5, 0.999
LIMITS = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
"""Largest error of a gradient, relative to the element plus the root mean square of all."""


class Run(NamedTuple):
    """Outputs of one call: those that must be exact, and those that must be close."""

    exact: list[Tensor]
    close: list[Tensor]


class Case(NamedTuple):
    """Two ways to compute the same result."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    ours: Callable[[], Run]
    naive: Callable[[], Run]


def make_dynamics(neuron: str, surrogate: str, detach_reset: bool) -> Dynamics:
    """Return a neuron with the published constants."""
    shape = Surrogate(surrogate, SCALES[surrogate])
    return Dynamics(neuron, 0.5, shape, detach_reset, NEURONS[neuron])


def naive_encode(drive: Tensor, time_steps: int) -> Tensor:
    """Return spikes of integration with a soft reset and a straight-through gradient."""
    potential, spikes = torch.zeros_like(drive), []
    for _ in range(time_steps):
        potential = potential + drive
        fired = (potential.detach() > THRESHOLD).to(potential.dtype)
        spike = fired + (potential - potential.detach())
        potential = potential - THRESHOLD * spike
        spikes.append(spike)
    return torch.stack(spikes)


def normal(shape: tuple[int, ...], seed: int, device: torch.device) -> Tensor:
    """Return normally distributed numbers, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device)


def differentiate(output: Tensor, g: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Return the gradients of the inputs from ``g = dL/d output``."""
    return list(torch.autograd.grad(output, inputs, g.to(output.dtype)))


def neuron_case(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    dynamics: Dynamics,
    device: torch.device,
    operators: Any,
    layout: Callable[[Tensor], Tensor] = lambda g: g,
) -> Case:
    """Return the case of a neuron alone; ``layout`` gives the upstream gradient other strides."""
    x = (normal(shape, 0, device) * 0.8 + 0.2).to(dtype)
    g = layout(normal(shape, 1, device).to(dtype))

    def ours() -> Run:
        leaf = x.clone().requires_grad_()
        spikes = operators.neuron(leaf, dynamics)[0]
        return Run([spikes], differentiate(spikes, g, leaf))

    def naive() -> Run:
        leaf = x.float().requires_grad_()
        spikes = run(leaf, dynamics)[0]
        return Run([spikes], differentiate(spikes, g, leaf))

    surrogate = dynamics.surrogate.name + (" detached" if dynamics.detach_reset else "")
    return Case(f"{dynamics.neuron} {surrogate}", shape, dtype, ours, naive)


def normalised_case(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    dynamics: Dynamics,
    device: torch.device,
    operators: Any,
    given: bool,
    counts: bool,
) -> Case:
    """Return the case of a normalisation and a neuron.

    :param given: whether the statistics are given; otherwise they are the batch's
    :param counts: whether the sum of spikes over time is an output, too
    """
    x = (normal(shape, 0, device) * 1.5 + 0.7).to(dtype)
    g = normal(shape, 1, device).to(dtype)
    gamma, beta = (normal(shape[2:], seed, device) * 0.2 + 0.6 for seed in (2, 3))
    fixed = (normal(shape[2:], 4, device) * 0.3, normal(shape[2:], 5, device).abs() + 0.5)

    def call(values: Tensor, *affine: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        result: tuple[Tensor, Tensor, Tensor, Tensor] = operators.normalised_neuron(
            values, fixed if given else None, *affine, EPS, dynamics, counts
        )
        return result

    def read(spikes: Tensor, counted: Tensor) -> Tensor:
        return spikes * 0.5 + counted if counts else spikes

    def ours() -> Run:
        leaves = [value.clone().requires_grad_() for value in (x, gamma, beta)]
        spikes, mean, var, counted = call(*leaves)
        gradients = differentiate(read(spikes, counted), g, *leaves)
        return Run([spikes, counted] if counts else [spikes], [mean, var, *gradients])

    def naive() -> Run:
        leaves = [value.float().requires_grad_() for value in (x, gamma, beta)]
        if given:
            mean, var = fixed
            statistics = [mean, var]
        else:
            var, mean = torch.var_mean(leaves[0], dim=(0, 1), correction=0)
            statistics = [mean.detach(), var.detach()]
            # The kernel sums in another order. Its values of the statistics are used here, with the
            # gradients of the batch's, so that rounding moves no membrane across the threshold.
            _, our_mean, our_var, _ = call(x, gamma, beta)
            mean = mean + (our_mean - mean).detach()
            var = var + (our_var - var).detach()
        y = (leaves[0] - mean) / torch.sqrt(var + EPS) * leaves[1] + leaves[2]
        spikes = run(y, dynamics)[0]
        counted = spikes.sum(0)
        gradients = differentiate(read(spikes, counted), g, *leaves)
        return Run([spikes, counted] if counts else [spikes], [*statistics, *gradients])

    kind = ("given" if given else "batch") + (", counts" if counts else "")
    return Case(f"{dynamics.neuron} normalised ({kind})", shape, dtype, ours, naive)


def encoder_case(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, operators: Any
) -> Case:
    """Return the case of the encoder."""
    drive = normal(shape[1:], 0, device).abs().to(dtype)
    g = normal(shape, 2, device).to(dtype)

    def ours() -> Run:
        leaf = drive.clone().requires_grad_()
        fired = operators.encode(leaf, shape[0], THRESHOLD)
        return Run([fired], differentiate(fired, g, leaf))

    def naive() -> Run:
        leaf = drive.float().requires_grad_()
        fired = naive_encode(leaf, shape[0])
        return Run([fired.detach()], differentiate(fired, g, leaf))

    return Case("encode", shape, dtype, ours, naive)


def fields_case(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, operators: Any
) -> Case:
    """Return the case of the encoder by receptive fields, eight of each number.

    Spikes are compared of neurons whose potential is never close to the threshold: torch rounds the
    exponential in another way. Gradients do not depend on spikes.
    """
    numbers = max(shape[2] // 8, 1)
    seen = (normal((shape[1], numbers), 0, device) * 0.5).to(dtype)
    mean, std = normal((numbers, 8), 1, device), normal((numbers, 8), 2, device).abs() + 0.2
    g = normal((shape[0], shape[1], 8 * numbers), 3, device)

    def activations(o: Tensor, m: Tensor, s: Tensor) -> Tensor:
        return torch.exp(-((o.unsqueeze(-1) - m) ** 2) / (2 * s**2)).flatten(1)

    fired = naive_encode(activations(seen.float(), mean, std), shape[0])
    gained = activations(seen.float(), mean, std) * torch.arange(
        1, shape[0] + 1, device=device
    ).view(-1, 1, 1)
    potentials = gained - THRESHOLD * (fired.cumsum(0) - fired)
    far = ((potentials - THRESHOLD).abs() > 1e-4).all(0)

    def ours() -> Run:
        leaves = [value.clone().requires_grad_() for value in (seen, mean, std)]
        spikes = operators.encode_fields(*leaves, shape[0], THRESHOLD)
        return Run([spikes * far], differentiate(spikes, g, *leaves))

    def naive() -> Run:
        leaves = [value.float().requires_grad_() for value in (seen, mean, std)]
        spikes = naive_encode(activations(*leaves), shape[0])
        return Run([spikes.detach() * far], differentiate(spikes, g, *leaves))

    return Case("encode by fields", shape, dtype, ours, naive)


def decoder_case(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, operators: Any
) -> Case:
    """Return the case of the readout of rates, of two outputs."""
    population = max(shape[2] // 2, 1)
    spikes = normal((shape[0], shape[1], 2 * population), 0, device) > 0.5
    counts = spikes.sum(0).to(dtype)
    weight, bias = normal((2, population), 1, device), normal((2,), 2, device)
    g = normal((shape[1], 2), 3, device)

    def ours() -> Run:
        leaves = [value.clone().requires_grad_() for value in (counts, weight, bias)]
        values = operators.decode(*leaves, shape[0])
        return Run([], [values.detach(), *differentiate(values, g, *leaves)])

    def naive() -> Run:
        leaves = [value.float().requires_grad_() for value in (counts, weight, bias)]
        rates = (leaves[0] / shape[0]).unflatten(1, weight.shape)
        values = (rates * leaves[1]).sum(-1) + leaves[2]
        return Run([], [values.detach(), *differentiate(values, g, *leaves)])

    return Case("decode", shape, dtype, ours, naive)


def statistics_case(features: int, variant: Variant, device: torch.device, operators: Any) -> Case:
    """Return the case of three layers whose moving statistics follow two batches."""
    makers = {
        "published": ConfidenceUpdate,
        "corrected": CorrectedConfidenceUpdate,
        "kalman": KalmanUpdate,
    }
    sizes, n = (features, features // 2 + 1, 3), 255.0

    def seen(step: int, size: int) -> tuple[Tensor, Tensor]:
        first = 2 * step + size
        return normal((size,), first, device), normal((size,), first + 1, device).square()

    def layers() -> list[tuple[ConfidenceUpdate, tuple[Tensor, Tensor]]]:
        return [
            (
                makers[variant]((size,), 0.8, n).to(device),
                (torch.zeros(size, device=device), torch.ones(size, device=device)),
            )
            for size in sizes
        ]

    def state(of: list[tuple[ConfidenceUpdate, tuple[Tensor, Tensor]]]) -> Run:
        buffers = [value.float() for rule, _ in of for value in rule.buffers()]
        return Run([], [value for _, moving in of for value in moving] + buffers)

    def ours() -> Run:
        made = layers()
        for step in range(2):
            known = [
                rule.known_fused(moving, seen(step, len(moving[0])), 1) for rule, moving in made
            ]
            fused = [each for each in known if each is not None]
            operators.move_statistics([layer for _, layer in fused], fused[0][0])
        return state(made)

    def naive() -> Run:
        made = layers()
        for step in range(2):
            for rule, moving in made:
                rule(*moving, *seen(step, len(moving[0])), 1)
        return state(made)

    return Case(f"statistics ({variant})", (features,), torch.float32, ours, naive)


def cases(
    device: torch.device, operators: Any, shapes: tuple[tuple[int, ...], ...] = SHAPES
) -> Iterator[Case]:
    """Yield cases of every operator: each rule of statistics, each neuron at each shape, each
    surrogate at the odd one."""
    variants: tuple[Variant, ...] = ("published", "corrected", "kalman")
    for variant in variants:
        yield statistics_case(shapes[0][2], variant, device, operators)
    for dtype in LIMITS:
        for shape in shapes:
            for neuron in NEURONS:
                dynamics = make_dynamics(neuron, "rectangular", False)
                yield neuron_case(shape, dtype, dynamics, device, operators)
                for given, counts in product((False, True), repeat=2):
                    yield normalised_case(shape, dtype, dynamics, device, operators, given, counts)
            yield encoder_case(shape, dtype, device, operators)
            yield fields_case(shape, dtype, device, operators)
            yield decoder_case(shape, dtype, device, operators)
        for neuron in NEURONS:
            for surrogate in SCALES:
                for detach_reset in (False, True):
                    dynamics = make_dynamics(neuron, surrogate, detach_reset)
                    yield neuron_case(ODD, dtype, dynamics, device, operators)
            dynamics = make_dynamics(neuron, "rectangular", False)
            for name, layout in LAYOUTS.items():
                case = neuron_case(ODD, dtype, dynamics, device, operators, layout)
                yield case._replace(name=f"{neuron}, {name} gradient")


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda g: g.transpose(0, 2).contiguous().transpose(0, 2),
    "expanded": lambda g: g[0].expand(g.shape),
}


def error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest error, relative to element plus root mean square; NaN if any is NaN."""
    expected, actual = expected.double(), actual.double()
    scale = expected.abs() + expected.square().mean().sqrt() + 1e-30
    return ((actual - expected).abs() / scale).max().item()


def judge(case: Case) -> tuple[int, float, bool]:
    """Return the number of wrong spikes, the largest error, and whether two runs agree."""
    first, second, expected = case.ours(), case.ours(), case.naive()
    pairs = zip(first.exact, expected.exact, strict=True)
    wrong = sum(int((one.float() != other.float()).sum()) for one, other in pairs)
    errors = [error(*pair) for pair in zip(first.close, expected.close, strict=True)]
    outputs = zip([*first.exact, *first.close], [*second.exact, *second.close], strict=True)
    same = all(torch.equal(one, other) for one, other in outputs)
    # Python's max() would ignore a NaN that is not the first.
    return wrong, float(torch.tensor(errors).max()), same


def check(found: Iterator[Case]) -> int:
    """Print one line per case.

    :return: number of mismatches
    """
    print(f"{'operator':32} {'shape':16} {'type':9} {'spikes off':>10} {'error':>9}  same twice")
    mismatches = 0
    for case in found:
        wrong, largest, same = judge(case)
        good = wrong == 0 and largest <= LIMITS[case.dtype] and same
        mismatches += not good
        print(
            f"{case.name:32} {'x'.join(map(str, case.shape)):16} {str(case.dtype)[6:]:9} "
            f"{wrong:10} {largest:9.1e}  {'yes' if same else 'no':10}{'' if good else '  MISMATCH'}"
        )
    return mismatches


def captured_graph_replays(device: torch.device) -> bool:
    """Return whether forward and backward, captured as a CUDA graph, compute the same on new
    inputs, with another threshold and another scale of the surrogate."""
    threshold, scale = (torch.tensor(0.5, device=device) for _ in range(2))
    dynamics = make_dynamics("lif", "rectangular", False)._replace(
        threshold=threshold, surrogate=Surrogate("rectangular", scale)
    )
    x, g = (normal((5, 64, 48), seed, device) for seed in (0, 1))
    x.requires_grad_()
    gamma, beta = (torch.full((48,), 0.5, device=device, requires_grad=True) for _ in range(2))

    def step() -> list[Tensor]:
        _, mean, var, counts = register.normalised_neuron(
            x, None, gamma, beta, EPS, dynamics, counts=True
        )
        return [counts, mean, var, *differentiate(counts, g[0], x, gamma, beta)]

    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.copy_(normal((5, 64, 48), 7, device) * 2)
        threshold.fill_(0.7)
        scale.fill_(0.3)
    graph.replay()
    expected = step()
    return all(torch.equal(one, other) for one, other in zip(captured, expected, strict=True))


def main(arguments: Sequence[str] = ()) -> int:
    """Check all cases, or a part of them, and a captured graph.

    :param arguments: ``2/6`` for the second of six parts
    :return: exit status, 1 if something differs
    """
    return exit_status(lambda: _check(*_part(arguments)))


def _part(arguments: Sequence[str]) -> tuple[int, int]:
    part, _, parts = (arguments[0] if arguments else "1/1").partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise UserError(f"{arguments[0]}: expected a part of all cases, for example 2/6")
    return int(part), int(parts)


def _check(part: int, parts: int) -> int:
    device = torch.device("cuda")
    if not torch.cuda.is_available():
        check_device(torch.device("cpu"))
    check_device(device)
    mismatches = check(islice(cases(device, register), part - 1, None, parts))
    replays = captured_graph_replays(device)
    print(f"captured CUDA graph: {'the same' if replays else 'MISMATCH'}")
    mismatches += not replays
    print(f"{mismatches} mismatches on {torch.cuda.get_device_name(device)}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
