"""On CUDA convolutions and matrix products compute with whole floats, both."""

from types import SimpleNamespace

import pytest
import torch

from snnrl.agents.base import SpikingAgent
from snnrl.agents.updates.precision import disable_tf32
from tests.agents.helpers import small


@pytest.fixture(autouse=True)
def rounded():
    before = settings()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def settings():
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_both_are_set():
    disable_tf32()
    assert settings() == (False, False)


def test_an_agent_on_a_cpu_leaves_them():
    small()
    assert settings() == (True, True)


def test_an_agent_on_cuda_sets_them():
    class Stub:
        env = None
        device = torch.device("cuda")
        policy = SimpleNamespace(modules=lambda: [])
        _prepare_optimizers = _resolve_kernels = _collect_components = lambda *_: None
        parts = staticmethod(dict)

    SpikingAgent._prepare(Stub())
    assert settings() == (False, False)
