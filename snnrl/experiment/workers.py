"""Parallel training environments in subprocesses, each with its own random generators."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import gymnasium
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import CloudpickleWrapper
from stable_baselines3.common.vec_env.subproc_vec_env import _worker

from snnrl.envs.blame import in_words
from snnrl.errors import RunFailed, UserError
from snnrl.output import resilient_output
from snnrl.seeds import (
    SEEDINGS,
    Independent,
    child_seed,
    global_states,
    restore_global_states,
)

MakeEnv = Callable[[], gymnasium.Env[Any, Any]]

LEFT_TO_THE_RUN = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals sent to all processes of a run, which still has to save the environments' state."""


class EnvironmentEnded(RunFailed):
    """The process of an environment ended without a message."""


class EnvironmentFailed(RunFailed):
    """An exception in an environment's process, whose traceback is the cause of this one."""


class Workers(SubprocVecEnv):
    """Stable-Baselines3's ``SubprocVecEnv`` with independent randomness in each process.

    In ``SubprocVecEnv``, environment ``i`` of seed ``s`` starts like environment ``i - 1`` of seed
    ``s + 1``. The global generators of Python, numpy and torch are identical or unseeded in all
    processes. An exception in a process is reported only as its end.

    Every method raises :class:`UserError` or :class:`EnvironmentFailed` if an environment raised an
    exception, and :class:`EnvironmentEnded` if its process is gone.

    :param make: makes one environment, which has ``get_state`` and ``set_state``
    :param count: number of environments
    :param seed: seed of the run; global generators are seeded from it and the process's number
    :param seeding: derives the environments' seeds from the one given to :meth:`seed`
    :param preloaded: modules imported once for all processes
    """

    def __init__(
        self,
        make: MakeEnv,
        count: int,
        seed: int,
        seeding: Independent = SEEDINGS["independent"],
        preloaded: Sequence[str] = (),
    ):
        self.seeding = seeding
        self.waiting, self.closed = False, False
        multiprocessing.set_forkserver_preload(list(preloaded))
        context = multiprocessing.get_context("forkserver")
        self.processes, self.remotes = [], ()
        for rank in range(count):
            ours, theirs = context.Pipe()
            made = CloudpickleWrapper(_seeded(make, child_seed(seed, "worker", rank)))
            # A daemon ends with this process.
            process = context.Process(target=_work, args=(theirs, ours, made), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.remotes += (_Pipe(ours, process),)
        try:
            self.remotes[0].send(("get_spaces", None))
            VecEnv.__init__(self, count, *self.remotes[0].recv())
        except BaseException:
            self.close()
            raise

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the seed for the next reset of each environment.

        :param seed: seed of the run; ``None`` draws one
        """
        first = super().seed(seed)[0]
        assert first is not None
        self._seeds = [self.seeding.environment(first, index) for index in range(self.num_envs)]
        return self._seeds

    def close(self) -> None:
        """Close every environment whose process still runs."""
        if self.closed:
            return
        self.closed = True
        for remote in self.remotes:
            with suppress(RunFailed, UserError):
                if self.waiting:
                    remote.recv()
                remote.send(("close", None))
            remote.close()
        for process in self.processes:
            process.join()


class WithGlobalGenerators(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Save the process's global generators with the environment's state."""

    def get_state(self) -> dict[str, Any] | None:
        """Return the state of both; ``None`` if the environment has none."""
        state = self.env.get_wrapper_attr("get_state")()
        return None if state is None else {"env": state, "generators": global_states()}

    def set_state(self, state: Any) -> str | None:
        """Restore both; the generators come last, as the environment may draw from them.

        :param state: state of :meth:`get_state`, without generators if an earlier version wrote it
        :return: the reason if it could not be restored
        """
        parts = state if isinstance(state, dict) else {"env": state}
        reason: str | None = self.env.get_wrapper_attr("set_state")(parts["env"])
        if "generators" in parts:
            restore_global_states(parts["generators"])
        return reason


@dataclass(frozen=True)
class _Raised:
    """An exception sent to the learning process as text, because it may not be picklable."""

    line: str
    trace: str
    is_mistake: bool


class _Remote(Exception):
    """A traceback of another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Pipe:
    """Our end of an environment's pipe. Only an error of this pipe means that the process has
    ended.

    :param connection: our end of the pipe
    :param process: process at the other end
    """

    def __init__(self, connection: Connection, process: BaseProcess):
        self.connection = connection
        self.process = process

    def send(self, message: Any) -> None:
        """Send a command.

        :raises: as :meth:`recv`
        """
        try:
            self.connection.send(message)
        except ConnectionError:
            # An exception raised before the process ended comes first.
            self.recv()
            raise self._ended() from None

    def recv(self) -> Any:
        """Receive the answer to a command.

        :raises UserError: the environment raised it
        :raises EnvironmentFailed: the environment raised another exception
        :raises EnvironmentEnded: the process has ended
        """
        try:
            answer = self.connection.recv()
        except (EOFError, ConnectionError):
            raise self._ended() from None
        if not isinstance(answer, _Raised):
            return answer
        if answer.is_mistake:
            raise UserError(answer.line)
        raise EnvironmentFailed(f"{answer.line}, in the process of an environment") from _Remote(
            answer.trace
        )

    def close(self) -> None:
        """Close this end."""
        self.connection.close()

    def _ended(self) -> EnvironmentEnded:
        self.process.join(timeout=1)
        status, how = self.process.exitcode, ""
        if status is not None and status < 0:
            how = f" by {signal.Signals(-status).name}"
            how += " (out of memory?)" if status == -signal.SIGKILL else ""
        return EnvironmentEnded(f"the process of an environment ended{how}")


class _EndOfFile(Exception):
    """An ``EOFError`` raised by the environment, which the loop around it would attribute to the
    pipe."""


class _NoEndOfFile(gymnasium.Wrapper[Any, Any, Any, Any]):
    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        try:
            return self.env.reset(**arguments)
        except EOFError as problem:
            raise _EndOfFile from problem

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            return self.env.step(action)
        except EOFError as problem:
            raise _EndOfFile from problem


def _work(remote: Connection, parents: Connection, make: CloudpickleWrapper) -> None:
    """Run the loop of an environment's process.

    :param remote: this process's end of the pipe
    :param parents: the parent's end
    :param make: makes the environment
    """
    # A signal to the run's process group must leave this process alive.
    os.setpgid(0, 0)
    for number in LEFT_TO_THE_RUN:
        signal.signal(number, signal.SIG_IGN)
    with resilient_output():
        try:
            _worker(remote, parents, make)
        except Exception as problem:
            with suppress(OSError):  # The parent is gone.
                remote.send(_raised(problem))


def _raised(problem: Exception) -> _Raised:
    if isinstance(problem, _EndOfFile) and isinstance(problem.__cause__, Exception):
        problem = problem.__cause__
    is_mistake = isinstance(problem, UserError)
    line = str(problem) if is_mistake else in_words(problem)
    return _Raised(line, "".join(traceback.format_exception(problem)), is_mistake)


def _seeded(make: MakeEnv, seed: int) -> MakeEnv:
    """Make the environment after seeding the process's global generators."""

    def make_seeded() -> gymnasium.Env[Any, Any]:
        set_random_seed(seed)
        return _NoEndOfFile(WithGlobalGenerators(make()))

    return make_seeded
