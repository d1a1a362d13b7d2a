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
"""Takes a minibatch, and may return a tensor: then each call of what is captured returns the same
one, with new values."""


class Seen(NamedTuple):
    """What a policy decides upon.

    :param observations: ``[B, ...]``
    """

    observations: Tensor


EAGER_STEPS = 3
"""Gradient steps of each kind that run operator by operator before one is captured: optimisers
make their state there, which must not become part of the graph."""

KEPT_STEPS = 8
"""Kinds of step that an agent keeps; the least recently used goes. TD3 and SAC have two: a number
that changes, such as a scheduled ``tau``, and small minibatches at the start bring others."""


class Recorder(Protocol):
    """What captures."""

    def run(self, work: Work) -> None:
        """Do the work where it will be captured."""

    def capture(self, work: Work) -> Work:
        """Record the work on the device without doing it, and return what does it again."""

    def fresh(self) -> Self:
        """Another one like this, for another agent."""


class CudaRecorder:
    """Captures on a stream of its own, on which the work has run before.

    Random numbers come from the device's default generator, which a graph takes along: each replay
    draws anew.

    :param device: a CUDA device
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def run(self, work: Work) -> None:
        """Do the work on the stream; what is queued before and after keeps its order."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # Optimisers ask why they are capturable and not captured: they soon are.
            warnings.filterwarnings("ignore", message="This instance was constructed with captura")
            work()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def capture(self, work: Work) -> Work:
        """Record the work as a graph; return its replay.

        cuBLAS keeps a workspace for each stream, and streams come from a small pool, so agents may
        share one. A workspace that a graph uses must lie in the graph's own memory, or whoever
        drops another graph, or clears workspaces, takes it away (pytorch issue 193402).
        """
        graph = torch.cuda.CUDAGraph()
        torch._C._cuda_clearCublasWorkspaces()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                work()
        finally:
            torch._C._cuda_clearCublasWorkspaces()
        return graph.replay

    def fresh(self) -> CudaRecorder:
        """One with a stream of its own."""
        return CudaRecorder(self._device)


class CapturedStep:
    """One kind of gradient step on minibatches of one shape, or of decision on observations.

    The first :data:`EAGER_STEPS` calls are steps like any other, run operator by operator; the next
    one captures the step and replays it, as do all that follow. Nothing is done twice or thrown
    away.

    :param step: a step; its shapes, numbers and choices must not depend on values on the device,
        and what it changes it must change in place
    :param batch: a named tuple, the tensors in it of the shapes and types that all will have
    :param recorder: what captures
    """

    def __init__(self, step: Step, batch: Any, recorder: Recorder):
        self._static = type(batch)._make(
            value.clone() if isinstance(value, Tensor) else value for value in batch
        )
        self._step = step
        self._result: Tensor | None = None
        self._recorder = recorder
        self._eager_steps = 0
        self._replay: Work | None = None

    def __call__(self, batch: Any) -> Tensor | None:
        """One step."""
        torch._foreach_copy_(_tensors(self._static), _tensors(batch))
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
    """The steps of an agent, by kind, shape of the minibatch and the numbers baked in.

    :param recorder: what captures
    """

    def __init__(self, recorder: Recorder):
        self._recorder = recorder
        self._steps: OrderedDict[Hashable, CapturedStep] = OrderedDict()

    def __call__(self, step: Step, batch: Any, baked: tuple[Hashable, ...]) -> Tensor | None:
        """One step.

        :param step: a function or a method of the agent, one for each name
        :param batch: the minibatch, a named tuple, on the device
        :param baked: numbers of Python's that the step computes with; when one changes, the step is
            captured anew
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
        """What is captured changes the tensors of one agent: a copy starts with nothing."""
        return CapturedSteps(self._recorder.fresh())

    def clear(self) -> None:
        """Forget all: to be called when a tensor that a step uses has been replaced."""
        self._steps.clear()


def _tensors(batch: Any) -> list[Tensor]:
    return [value for value in batch if isinstance(value, Tensor)]
