"""Threads share an operator's work, and its results stay the same bits."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.ops import native
from snnrl.ops.dynamics import Dynamics
from snnrl.ops.native import calls
from snnrl.ops.native.arguments import InferenceLayer
from snnrl.ops.surrogate import Surrogate

from .results import dense_results, results

NEURONS = ("lif", "clif", "dn")


@pytest.fixture(autouse=True)
def one_thread_before_and_after() -> Iterator[None]:
    native.use_threads(1)
    yield
    native.use_threads(1)


def same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_computes_the_same_bits(threads: int) -> None:
    before = [*(results(kind) for kind in NEURONS), dense_results()]
    native.use_threads(threads)
    after = [*(results(kind) for kind in NEURONS), dense_results()]
    assert all(map(same, before, after))


def all_results() -> list[Tensor]:
    return [*results("lif"), *dense_results()]


def test_callers_beside_each_other_get_their_own_results() -> None:
    expected, found = all_results(), list[list[Tensor]]()
    native.use_threads(3)
    callers = [threading.Thread(target=lambda: found.append(all_results())) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 4 and all(same(expected, each) for each in found)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    expected = all_results()
    native.use_threads(3)
    all_results()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if same(expected, all_results()) and tasks() == 3 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same(expected, all_results())


ONE_AND_TWO_THREADS = """
import sys
from tests.ops.native.results import dense_results
from tests.ops.native.test_threads import same, tasks
from snnrl.ops import native
import torch
torch.set_num_threads(1)
native.use_threads(1)
expected, before = dense_results(), tasks()
native.use_threads(2)
assert all(same(expected, dense_results()) for _ in range(5)), "other bits"
assert tasks() <= before + 1, f"{tasks()} threads, {before} before"
"""


def test_blas_has_one_thread_on_each_of_them() -> None:
    """Whatever it would have by itself: it cuts products by that number."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_AND_TWO_THREADS],
        env={**os.environ, "OMP_NUM_THREADS": "4", "MKL_DYNAMIC": "FALSE"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts in /proc")
def test_threads_are_kept_and_not_made_again() -> None:
    native.use_threads(4)
    all_results()
    before, open_files = tasks(), len(os.listdir("/proc/self/fd"))
    for number in (4, 2, 3, 1, 4) * 3:
        native.use_threads(number)
        all_results()
    assert (tasks(), len(os.listdir("/proc/self/fd"))) == (before, open_files)


def test_what_fails_on_a_thread_is_raised_by_the_call() -> None:
    wrong = Dynamics("lif", 0.5, Surrogate("rectangular", 1.0), True, (0.75, 1.0))
    layer = InferenceLayer(torch.ones(4, 4), None, None, 1e-5, wrong)
    for threads in (1, 3):
        native.use_threads(threads)
        with pytest.raises(TypeError, match="number of constants"):
            calls.infer(torch.ones(100, 4), 5, 0.9, [layer])


@pytest.mark.parametrize("number", [0, -1])
def test_odd_numbers(number: int) -> None:
    with pytest.raises(UserError, match=rf"^use_threads\({number}\): expected 1 or more$"):
        native.use_threads(number)
