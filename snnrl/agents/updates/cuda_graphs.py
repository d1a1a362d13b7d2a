"""Gradient steps and decisions captured as CUDA graphs: one launch for hundreds of operators."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

Work = Callable[[], None]
Step = Callable[[Any], Tensor | None]
"""Takes a minibatch, and may return a tensor; a captured step returns the same tensor at each call,
with new values."""


class Seen(NamedTuple):
    """Input of a decision.

    :param observations: ``[B, ...]``
    """

    observations: Tensor


EAGER_STEPS = 3
"""Gradient steps of each kind that run operator by operator before one is captured: optimisers
make their state there, which must not become part of the graph."""

KEPT_STEPS = 8
"""Kinds of step that an agent keeps; the least recently used goes. TD3 and SAC have two, three with
a proxy: a number that changes, such as a scheduled ``tau``, and small minibatches at the start
bring others."""


class Recorder(Protocol):
    """Runs a step, and captures it as a graph."""

    def run(self, work: Work) -> None:
        """Run the step on the stream on which it will be captured."""

    def capture(self, work: Work) -> Work:
        """Capture the step without running it; return a function that runs it."""

    def keep(self, value: Tensor) -> Tensor:
        """Return a copy on the device, which the step reads."""

    def fresh(self) -> Self:
        """Return another recorder like this one, for another agent."""


class CudaRecorder:
    """A recorder that captures on its own stream, on which the work has run before.

    Random numbers come from the device's default generator, which the graph registers: each replay
    draws new ones.

    :param device: a CUDA device
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def run(self, work: Work) -> None:
        """Run the step on the stream, after the work queued before it and before later work."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # Optimisers warn of being capturable without being captured, which they soon will be.
            warnings.filterwarnings("ignore", message="This instance was constructed with captura")
            work()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def capture(self, work: Work) -> Work:
        """Capture the step as a graph; return its replay.

        cuBLAS keeps a workspace for each stream, and streams come from a small pool, so agents may
        share one. A workspace that a graph uses must lie in the graph's own memory: otherwise
        dropping another graph, or clearing workspaces, frees it (pytorch issue 193402).
        """
        graph = torch.cuda.CUDAGraph()
        torch._C._cuda_clearCublasWorkspaces()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                work()
        finally:
            torch._C._cuda_clearCublasWorkspaces()
        return graph.replay

    def keep(self, value: Tensor) -> Tensor:
        """Return a copy on the device."""
        return value.to(self._device, copy=True)

    def fresh(self) -> CudaRecorder:
        """Return a recorder with its own stream."""
        return CudaRecorder(self._device)


class CapturedStep:
    """A gradient step on minibatches of one shape, or a decision on observations of one shape.

    The first :data:`EAGER_STEPS` calls run operator by operator. The next call captures the step
    and replays it; later calls replay it. No step is repeated or discarded.

    :param step: the step; its shapes, Python numbers and branches must not depend on values on the
        device, and it must change tensors in place
    :param batch: a named tuple of tensors with the shapes and dtypes of all later batches, on the
        device or in pinned memory of the host; what else is in it is that of all later ones too
    :param recorder: captures the steps
    """

    def __init__(self, step: Step, batch: Any, recorder: Recorder):
        self._static = type(batch)._make(
            recorder.keep(value) if isinstance(value, Tensor) else value for value in batch
        )
        self._step = step
        self._result: Tensor | None = None
        self._recorder = recorder
        self._eager_steps = 0
        self._replay: Work | None = None

    def __call__(self, batch: Any) -> Tensor | None:
        """Take one step."""
        torch._foreach_copy_(_tensors(self._static), _tensors(batch), non_blocking=True)
        if self._eager_steps < EAGER_STEPS:
            self._eager_steps += 1
            self._recorder.run(self._work)
            return self._result
        if self._replay is None:
            self._replay = self._recorder.capture(self._work)
        self._replay()
        return self._result

    def _work(self) -> None:
        self._result = self._step(self._static)


class CapturedSteps:
    """The captured steps of an agent, by kind, shape of the minibatch and Python numbers in the
    graph.

    :param recorder: captures the steps
    """

    def __init__(self, recorder: Recorder):
        self._recorder = recorder
        self._steps: OrderedDict[Hashable, CapturedStep] = OrderedDict()

    def __call__(self, step: Step, batch: Any, baked: tuple[Hashable, ...]) -> Tensor | None:
        """Take one step.

        :param step: a function or a method of the agent, one for each name
        :param batch: the minibatch, a named tuple, on the device or in pinned memory of the host
        :param baked: Python numbers that become constants of the graph; when one changes, the step
            is captured again
        """
        shapes = tuple((value.shape, value.dtype) for value in _tensors(batch))
        key = (step.__name__, shapes, baked)
        if key not in self._steps:
            self._steps[key] = CapturedStep(step, batch, self._recorder)
        self._steps.move_to_end(key)
        if len(self._steps) > KEPT_STEPS:
            self._steps.popitem(last=False)
        return self._steps[key](batch)

    def __deepcopy__(self, memo: dict[int, object]) -> CapturedSteps:
        """Return an empty copy: captured steps change the tensors of one agent."""
        return CapturedSteps(self._recorder.fresh())

    def clear(self) -> None:
        """Discard all steps; call it when a tensor that a step uses was replaced."""
        self._steps.clear()


def _tensors(batch: Any) -> list[Tensor]:
    return [value for value in batch if isinstance(value, Tensor)]
