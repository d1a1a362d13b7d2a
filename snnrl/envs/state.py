"""Complete state of an environment, so that training resumes where it stopped."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from snnrl.envs import graph
from snnrl.envs.checked import Checked
from snnrl.envs.earlier_state import load_earlier, set_earlier
from snnrl.envs.time_limit import time_limit
from snnrl.errors import UserError
from snnrl.seeds import SEEDINGS, Independent

_CURRENT = b"snnrl-state-2:"
"""First bytes of a state; those of earlier versions and starts of episodes begin differently."""


class Stateful(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Provide an environment's state to a vectorised environment in any process:
    ``vec_env.env_method("get_state")``.

    An environment that cannot be pickled (``only_between_episodes``) has a state only until the
    first step of an episode: the seed with which the episode started. For this, its resets get
    seeds, drawn from the seed of the first. ``obstacle`` says why this environment, or another one
    at the last attempt, could not be pickled.

    :param env: the environment
    :param seeding: derives those seeds
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], seeding: Independent = SEEDINGS["independent"]
    ):
        super().__init__(env)
        self._seeding = seeding
        self.only_between_episodes = False
        self.obstacle: str | None = None
        self._is_new = True
        self._seeds = seeding.stream(None, "episodes")
        self._start: tuple[int, dict[str, Any]] | None = None

    @property
    def time_limit(self) -> int | None:
        """Return the steps after which an episode is truncated, if the environment says so."""
        return time_limit(self.env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, as in gymnasium."""
        if seed is not None:
            # The environment's own generator starts from the seed alone.
            self._seeds = self._seeding.stream(seed, "episodes")
        elif self.only_between_episodes:
            seed = int(self._seeds.integers(2**31))
        result = self.env.reset(seed=seed, options=options)
        if self._is_new:
            self._is_new = False
            self.obstacle = obstacle(self.env)
            self.only_between_episodes = self.obstacle is not None
        self._start = None if seed is None else (seed, dict(self._seeds.bit_generator.state))
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment, as in gymnasium."""
        self._start = None
        return self.env.step(action)

    def get_state(self) -> bytes | None:
        """Return :func:`get_state` of the environment, with every wrapper below this one.

        :return: ``None`` if there is none, as within an episode of one that cannot be pickled;
            ``obstacle`` then says why
        """
        if self.only_between_episodes:
            if self._start is None:
                return None
            return pickle.dumps((*self._start, *_states_of_wrappers(self.env)))
        state = get_state(self.env)
        self.obstacle = obstacle(self.env) if state is None else None
        return state

    def set_state(self, state: bytes) -> str | None:
        """Call :func:`set_state` of the environment, which was reset once.

        :return: why it could not be restored; an exception would end the environment's process
        """
        try:
            start = None if state.startswith(_CURRENT) else load_earlier(state)
            self.only_between_episodes = isinstance(start, tuple)
            if isinstance(start, tuple):
                seed, self._seeds.bit_generator.state, *of_wrappers = start
                self._start = start[:2]
                self.env.reset(seed=seed)
                if of_wrappers:  # Absent in an earlier version.
                    return _restore_wrappers(self.env, *of_wrappers)
            else:
                set_state(self.env, state)
                self.obstacle = None
        except UserError as problem:
            return str(problem)
        except Exception as problem:  # as what an earlier version pickled likes
            return f"the environment cannot be restored ({_in_words(problem)})"
        return None


def _states_of_wrappers(env: gymnasium.Env[Any, Any]) -> tuple[list[dict[str, bytes]], list[str]]:
    """Pickle the attributes of the wrappers of an environment that cannot be pickled itself.

    :return: the attributes of each wrapper, and the names of those that cannot be pickled;
        functions are left to the constructor
    """
    states: list[dict[str, bytes]] = []
    lost: list[str] = []
    for layer in _layers(env)[:-1]:
        state = {}
        for name, value in vars(layer).items():
            if name == "env" or callable(value):
                continue
            try:
                state[name] = pickle.dumps(value)
            except Exception:  # as what is inside likes
                lost.append(f"{type(layer).__name__}.{name}")
        states.append(state)
    return states, lost


def _restore_wrappers(
    env: gymnasium.Env[Any, Any], states: list[dict[str, bytes]], lost: list[str]
) -> str | None:
    """Restore the attributes of wrappers.

    :return: names of attributes that are not restored
    """
    for layer, state in zip(_layers(env)[:-1], states, strict=True):
        vars(layer).update({name: pickle.loads(value) for name, value in state.items()})
    return f"{', '.join(lost)} cannot be pickled, so it is as at the start" if lost else None


def get_state(env: gymnasium.Env[Any, Any]) -> bytes | None:
    """Pickle everything that changes in ``env`` and in each of its wrappers.

    That is a layer's attributes, or its class's ``state_dict()``, and its spaces with their
    generators. All of it is one graph of objects: shared objects stay shared, and references to a
    layer refer to the restored layer. Variables of modules and classes are excluded, as are files
    and memory that an extension module keeps behind a number.

    :return: the state, or ``None`` where :func:`obstacle` says why there is none
    """
    try:
        return _pickled(env)
    except Exception:  # as what is inside likes
        return None


def obstacle(env: gymnasium.Env[Any, Any]) -> str | None:
    """Return why ``env`` has no state now.

    :return: such as ``LunarLander.world (cannot pickle 'SwigPyObject' object)``; ``None`` if it
        has one
    """
    try:
        _pickled(env)
    except Exception as problem:
        return _attribute_at_fault(env) or _in_words(problem)
    return None


def set_state(env: gymnasium.Env[Any, Any], state: bytes) -> None:
    """Restore ``env``, made like the one of :func:`get_state`, to that one's state.

    :raises UserError: the state belongs to another environment or is incomplete
    """
    if not state.startswith(_CURRENT):
        set_earlier(_earlier_layers(env), state)
        return
    kinds, content = pickle.loads(state.removeprefix(_CURRENT))
    anchors = _LiveAnchors(_anchors(env), kinds)
    try:
        for key, (what, saved) in graph.loads(content, anchors.find).items():
            _restore(anchors.find(key), what, saved)
    except Exception as problem:
        raise UserError(f"the environment cannot be restored ({_in_words(problem)})") from problem


def _pickled(env: gymnasium.Env[Any, Any]) -> bytes:
    anchors = _anchors(env)
    kinds = {
        key: (type(thing).__module__, type(thing).__qualname__) for key, thing in anchors.items()
    }
    content = graph.dumps({key: _changing(thing) for key, thing in anchors.items()}, anchors)
    return _CURRENT + pickle.dumps((kinds, content))


def _anchors(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Return the objects that stay in place when a state is restored, because others refer to
    them."""
    anchors: dict[str, Any] = {}
    for depth, layer in enumerate(_layers(env)):
        anchors[f"{depth}"] = layer
        for name in ("observation_space", "action_space"):
            space = getattr(layer, name, None)
            # Most wrappers expose the space of what they wrap.
            if isinstance(space, spaces.Space) and not any(space is a for a in anchors.values()):
                anchors[f"{depth}.{name}"] = space
    return anchors


class _LiveAnchors:
    """Anchors of a new environment, for a state in which they may differ.

    :param anchors: anchors of the new environment
    :param kinds: key -> module and name of the class, as saved
    """

    def __init__(self, anchors: dict[str, Any], kinds: dict[str, tuple[str, str]]):
        self.anchors = anchors
        self.kinds = kinds

    def find(self, key: str) -> Any:
        """Return the anchor. If the new environment lacks it, or has one of another class (it may
        exchange a layer while running), an empty one is made."""
        thing = self.anchors.get(key)
        if (type(thing).__module__, type(thing).__qualname__) != self.kinds[key]:
            thing = self.anchors[key] = _empty(*self.kinds[key])
        return thing


def _empty(module: str, name: str) -> Any:
    kind: Any = import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    return kind.__new__(kind)


def _layers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    layers: list[Any] = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _earlier_layers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    return [layer for layer in _layers(env) if not isinstance(layer, Checked)]


def _changing(thing: Any) -> tuple[str, Any]:
    if _has_state_dict(type(thing)):
        return "state_dict", thing.state_dict()
    attributes, slots = graph.attributes_of(thing)
    # A new environment has its own, which may not be picklable.
    left_out = [name for name, value in attributes.items() if isinstance(value, EnvSpec)]
    kept = {name: value for name, value in attributes.items() if name not in left_out}
    return "attributes", (kept, slots, left_out)


def _restore(thing: Any, what: str, saved: Any) -> None:
    if what == "state_dict":
        thing.load_state_dict(saved)
        return
    attributes, slots, left_out = saved
    own = {name: vars(thing).get(name) for name in left_out}
    graph.put_attributes(thing, ({**attributes, **own}, slots))


def _has_state_dict(kind: type) -> bool:
    """Return whether a class defines ``state_dict`` itself: a wrapper may forward it, and torch's
    covers only weights."""
    saves = getattr(kind, "state_dict", None)
    own = saves is not None and not saves.__module__.startswith("torch.")
    return own and hasattr(kind, "load_state_dict")


def _attribute_at_fault(env: gymnasium.Env[Any, Any]) -> str | None:
    anchors = _anchors(env)
    for thing in anchors.values():
        name = "state_dict"
        try:
            what, saved = _changing(thing)
            parts = {**saved[0], **saved[1]} if what == "attributes" else {name: saved}
            for name, value in parts.items():  # noqa: B007
                graph.dumps(value, anchors)
        except Exception as problem:
            return f"{type(thing).__name__}.{name} ({_in_words(problem)})"
    return None


def _in_words(problem: Exception) -> str:
    return str(problem).split("\n")[0] or type(problem).__name__
