"""What is asked of torch.cuda, with a stand-in that notes it."""

from contextlib import contextmanager

import pytest
import torch

from snnrl.agents.updates.cuda_graphs import CudaRecorder


class Stream:
    def __init__(self, name, log):
        self.name, self.log = name, log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log(monkeypatch):
    log = []
    main, side = Stream("main", log), Stream("side", log)

    class Graph:
        def replay(self):
            log.append("replay")

    @contextmanager
    def inside(what):
        log.append(f"into {what}")
        yield
        log.append(f"out of {what}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: inside(stream.name))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(
        torch.cuda, "graph", lambda graph, stream: inside(f"graph on {stream.name}")
    )

    def clear():
        log.append("workspaces cleared")

    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", clear, raising=False)
    return log


def test_work_runs_on_a_stream_of_its_own_and_in_order(log):
    CudaRecorder(torch.device("cuda")).run(lambda: log.append("work"))
    assert log == ["side waits for main", "into side", "work", "out of side", "main waits for side"]


def test_work_is_captured_on_the_same_stream_and_replayed_later(log):
    replay = CudaRecorder(torch.device("cuda")).capture(lambda: log.append("work"))
    captured = ["into graph on side", "work", "out of graph on side"]
    assert log == ["workspaces cleared", *captured, "workspaces cleared"]
    replay()
    replay()
    assert log[5:] == ["replay", "replay"]


def test_workspaces_are_cleared_where_capture_fails(log):
    def fail():
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaRecorder(torch.device("cuda")).capture(fail)
    assert log[-1] == "workspaces cleared"


def test_what_a_step_reads_is_kept_on_the_device(log):
    value = torch.ones(3)
    kept = CudaRecorder(torch.device("cpu")).keep(value)
    assert torch.equal(kept, value) and kept.data_ptr() != value.data_ptr()
    assert CudaRecorder(torch.device("meta")).keep(value).device.type == "meta"


def test_another_one_has_a_stream_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(object(), []))
    one = CudaRecorder(torch.device("cuda"))
    other = one.fresh()
    assert other._stream is not one._stream
    assert other._device == one._device
