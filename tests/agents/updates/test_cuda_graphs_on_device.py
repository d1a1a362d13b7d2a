"""On a GPU: gradient steps as CUDA graphs compute what they do operator by operator."""

import pytest
import torch

from tests.agents.helpers import VARIANTS, small, task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def play(variant, kernel, captured, folder):
    settings = dict(device="cuda", learning_rate=lambda left: 1e-3 * left)
    agent = small(variant, policy_kwargs=dict(kernel=kernel), **settings)
    if not captured:
        agent.captured = None
    agent.learn(60)
    agent.save(folder / "agent")
    agent = type(agent).load(folder / "agent", env=task(variant), device="cuda")
    if not captured:
        agent.captured = None
    return agent.learn(60, reset_num_timesteps=False)


@pytest.mark.parametrize("kernel", ["naive", "triton"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_is_saved_and_loaded(variant, kernel, tmp_path):
    captured, plain = (play(variant, kernel, c, tmp_path) for c in (True, False))
    assert captured.captured is not None
    assert any(step._replay is not None for step in captured.captured._steps.values())
    assert captured.replay_buffer._on_device is not None
    theirs = plain.policy.state_dict()
    for name, value in captured.policy.state_dict().items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4, msg=name)
    assert captured.loss_log.drain(0) == pytest.approx(plain.loss_log.drain(0), rel=1e-2)
