"""Compile every kernel for GPUs that this machine need not have; print what each holds.

Run as a script: a stand-in takes the place of Triton's driver, and launches only compile. One line
a kernel on standard output: ``capability kernel fused`` with the number of fused
multiply-additions of float32 in its code.
"""

from __future__ import annotations

import re

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from snnrl.ops.dynamics import Dynamics
from snnrl.ops.triton import (
    coding,
    confidence,
    decoding,
    neurons,
    normalised,
    receptive_fields,
)
from snnrl.ops.triton.normalised_backward import normalised_backward

from .helpers import EPS, make_dynamics
from .interpreted.launchers import compiled


class Driver:
    """As much of a GPU as compiling asks for."""

    def __init__(self, capability: int):
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


def compile_only(run):
    def compiled(self, *args, grid, warmup, **options):
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        fused = len(re.findall(r"\bfma\.[a-z.]*f32", kernel.asm["ptx"]))
        assert kernel.asm["cubin"]
        capability = triton.runtime.driver.active.capability
        module = self.fn.__module__.rpartition(".")[2]
        print(capability, f"{module}.{self.fn.__name__}", fused)
        return kernel

    return compiled


def launch_all(dynamics: Dynamics, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, vector = torch.zeros(shape, dtype=dtype), torch.ones(shape[2])
    statistics = (vector, vector, vector, vector)
    for counts in (False, True):
        neurons.neuron_forward(x, counts, *compiled(dynamics))
        for normalised.LARGEST_OWNED in (0, 4096):
            normalised.normalised_forward(x, vector, vector, EPS, counts, *compiled(dynamics))
    for upstream in ((x, None), (None, x[0]), (x, x[0])):
        neurons.neuron_backward(*upstream, x, *compiled(dynamics))
        for normalised.LARGEST_OWNED in (0, 4096):
            for pooled in (False, True):
                normalised_backward(*upstream, x, *statistics, EPS, pooled, *compiled(dynamics))
    coding.encode_forward(x[0], len(x), 0.999)
    coding.encode_backward(x, 0.999)
    code_all(x)
    move_all(shape[2])


def code_all(x: torch.Tensor) -> None:
    for population in (1, 10):
        fields = [torch.ones(3, population) for _ in range(2)]
        seen, g = x[0, :, :3], x[:, :, :1].expand(*x.shape[:2], 3 * population)
        receptive_fields.fields_forward(seen, *fields, len(x), 0.999)
        receptive_fields.fields_backward(g, seen, *fields, 0.999, True, True)
        decoding.decode_forward(g[0], fields[0], fields[0][:, 0], len(x))
        decoding.decode_backward(seen, g[0], fields[0], len(x))


def move_all(features: int) -> None:
    batch = [torch.ones(features) for _ in range(4)]
    for variant, width, noises in (
        ("published", 6, (None,)),
        ("corrected", 6, (None,)),
        ("kalman", 8, (None, 0.1)),
    ):
        layer = [torch.ones(features) for _ in range(width)]
        if variant == "kalman":
            layer.append(torch.tensor(True))
        for noise in noises:
            confidence.move_statistics(layer * 2, batch, variant, 0.8, 255.0, noise)


def main() -> None:
    JITFunction.run = compile_only(JITFunction.run)
    triton.runtime.driver.set_active(Driver(80))
    launch_all(make_dynamics("clif", "tanh", True), (1, 1, 37), torch.bfloat16)
    triton.runtime.driver.set_active(Driver(90))
    launch_all(make_dynamics("lif"), (5, 256, 256), torch.float32)
    launch_all(make_dynamics("dynamic", "sigmoid"), (40, 3, 37), torch.float16)


if __name__ == "__main__":
    main()
