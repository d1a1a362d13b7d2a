"""Pickles of a graph of live objects that keep the references between them.

Plain pickling is not enough for the objects of an environment. It fails on functions without a name
and copies memory that arrays share. It also rebuilds an object from its constructor's arguments
(``EzPickle``) instead of saving it as it is, and handles only objects inside the graph. Here some
objects are *anchors*: a pickle refers to them by a key, and unpickling puts live objects in their
place.
"""

from __future__ import annotations

import copyreg
import io
import marshal
import pickle
import random
import sys
import weakref
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import MAGIC_NUMBER
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import mujoco
import numpy as np
import torch

GLOBAL: dict[str, Any] = {
    "random": random.random.__self__,  # type: ignore[attr-defined]
    "numpy": np.random.normal.__self__,  # type: ignore[attr-defined]
}
"""Generators of the whole process: references to them stay references."""

_EZPICKLE = "EzPickle.__getstate__"

_EXTENSIONS = ("PyCapsule", "nb_ndarray")
"""Owners of memory that an extension module provides, by pybind11 and nanobind: most provide a
copy, MuJoCo does not."""

_RENDERING = "gymnasium.envs.mujoco.mujoco_rendering"


class _Field(NamedTuple):
    """Array that is part of a simulation or of its model."""

    owner: Any
    name: str


def dumps(content: Any, anchors: Mapping[str, Any]) -> bytes:
    """Pickle ``content``.

    :param anchors: objects to refer to, by key; their contents are not pickled
    :raises Exception: any exception raised while pickling the content
    """
    simulations: dict[int, mujoco.MjData] = {}
    while True:
        file = io.BytesIO()
        known = dict(simulations)
        _Pickler(file, anchors, known, simulations).dump(content)
        # A simulation may follow its parts, which must refer to it.
        if known.keys() == simulations.keys():
            return file.getvalue()


def loads(pickled: bytes, anchor: Callable[[str], Any]) -> Any:
    """Unpickle the output of :func:`dumps`.

    :param anchor: returns the live object of a key
    """
    return _Unpickler(io.BytesIO(pickled), anchor).load()


def attributes_of(thing: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return attributes and slots of an object, whatever its class defines for pickling."""
    state = object.__getstate__(thing)
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    return dict(attributes or {}), dict(slots or {})


def put_attributes(thing: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Set exactly these attributes and slots on an object."""
    attributes, slots = state
    if hasattr(thing, "__dict__"):
        vars(thing).clear()
        vars(thing).update(attributes)
    for name in copyreg._slotnames(type(thing)):  # type: ignore[attr-defined]
        if name in slots:
            object.__setattr__(thing, name, slots[name])
        elif hasattr(thing, name):
            object.__delattr__(thing, name)


class _Pickler(pickle.Pickler):
    def __init__(
        self,
        file: io.BytesIO,
        anchors: Mapping[str, Any],
        known: dict[int, mujoco.MjData],
        met: dict[int, mujoco.MjData],
    ):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._keys = {id(thing): key for key, thing in {**GLOBAL, **anchors}.items()}
        self._known = known
        self._met = met
        self._reducers: dict[type, Callable[[Any], Any]] = {
            MethodType: _reduce_method,
            FunctionType: _reduce_function,
            CellType: _reduce_cell,
            ModuleType: _reduce_module,
            weakref.ref: _reduce_reference,
            np.ndarray: self._reduce_array,
            torch.Tensor: _reduce_tensor,
            torch.UntypedStorage: _reduce_storage,
            mujoco.MjModel: self._reduce_model,
            mujoco.MjData: self._reduce_data,
        }

    def persistent_id(self, thing: Any) -> str | None:
        return self._keys.get(id(thing))

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        reducer = self._reducers.get(kind)
        if reducer is not None:
            return reducer(thing)
        if getattr(getattr(kind, "__getstate__", None), "__qualname__", "") == _EZPICKLE:
            return _blank, (kind,), attributes_of(thing), None, None, put_attributes
        if getattr(kind, "__module__", "") == _RENDERING and hasattr(thing, "_viewers"):
            # It reopens windows when needed.
            state = {**vars(thing), "viewer": None, "_viewers": {}}
            return _blank, (kind,), state
        return NotImplemented

    def _reduce_model(self, model: mujoco.MjModel) -> Any:
        """Pickle a simulation with its model."""
        data = self._known.get(id(model))
        return NotImplemented if data is None else (getattr, (data, "model"))

    def _reduce_data(self, data: mujoco.MjData) -> Any:
        first = self._met.setdefault(id(data.model), data)
        return NotImplemented if first is data else (_simulation, (data.model, pickle.dumps(data)))

    def _reduce_array(self, array: np.ndarray) -> Any:
        """Pickle an array, which owns its memory or shares another object's."""
        owner: Any = array.base
        while isinstance(owner, memoryview):
            owner = owner.obj
        if type(owner).__name__ in _EXTENSIONS:
            owner = self._field_at(_address(array))
        if owner is None or isinstance(owner, bytes) or array.size == 0:
            return array.__reduce__()
        offset = _address(array) - _address(_memory(owner))
        where = (owner, array.dtype, array.shape, array.strides, offset, array.flags.writeable)
        try:
            _view(*where)
        except (TypeError, ValueError) as problem:
            raise pickle.PicklingError(f"cannot pickle a view of memory: {problem}") from problem
        return _view, where

    def _field_at(self, address: int) -> _Field | None:
        """Return the part of a simulation or its model at that address."""
        for data in self._known.values():
            for owner in (data, data.model):
                for name in dir(owner):
                    field: Any = getattr(owner, name, None)
                    if not isinstance(field, np.ndarray):
                        continue
                    if 0 <= address - _address(field) < field.nbytes:
                        return _Field(owner, name)
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, anchor: Callable[[str], Any]):
        super().__init__(file)
        self._anchor = anchor

    def persistent_load(self, key: str) -> Any:
        return GLOBAL[key] if key in GLOBAL else self._anchor(key)


def _reduce_method(method: MethodType) -> Any:
    """Pickle a method by its place in the class: the object may have another attribute of that
    name."""
    owner, function = method.__self__, method.__func__
    if isinstance(owner, type):
        return NotImplemented
    for depth, base in enumerate(type(owner).__mro__):
        for name, value in vars(base).items():
            if value is function:
                return _method, (owner, depth, name)
    return _attached, (function, owner)


def _reduce_function(function: FunctionType) -> Any:
    """Pickle a function by its name, or by its code if the name does not lead to it."""
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is function:
        return NotImplemented
    # A decorator's function claims the module of the function it decorates.
    module = str(function.__globals__.get("__name__"))
    if function.__globals__ is not vars(sys.modules.get(module, sys)):
        raise pickle.PicklingError(f"cannot pickle {function.__qualname__}: it is of no module")
    code = marshal.dumps(function.__code__)
    state = {name: getattr(function, name) for name in _OF_FUNCTIONS}
    return (
        _function,
        (code, module, function.__closure__, MAGIC_NUMBER),
        (vars(function), state),
        None,
        None,
        _put_function,
    )


_OF_FUNCTIONS = (
    "__name__",
    "__qualname__",
    "__module__",
    "__defaults__",
    "__kwdefaults__",
    "__doc__",
)


def _put_function(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    attributes, named = state
    vars(function).update(attributes)
    for name, value in named.items():
        setattr(function, name, value)


def _reduce_cell(cell: CellType) -> Any:
    """Pickle a cell, so that functions that share a variable share its cell."""
    try:
        content = cell.cell_contents
    except ValueError:
        return _cell, ()
    # In a tuple, because a state of None is not set.
    return _cell, (), (content,), None, None, _put_cell


def _cell() -> CellType:
    return CellType()


def _put_cell(cell: CellType, content: tuple[Any]) -> None:
    (cell.cell_contents,) = content


def _reduce_module(module: ModuleType) -> Any:
    return import_module, (module.__name__,)


def _reduce_tensor(tensor: torch.Tensor) -> Any:
    """Pickle a tensor through its storage, one object that tensors of the same memory share."""
    if tensor.requires_grad or tensor.layout != torch.strided:
        return NotImplemented
    place = tensor.storage_offset(), tuple(tensor.size()), tensor.stride()
    return _tensor, (tensor.untyped_storage(), tensor.dtype, *place)


def _reduce_storage(storage: torch.UntypedStorage) -> Any:
    whole = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    return _storage, (whole.cpu().numpy().copy(), str(storage.device))


def _reduce_reference(reference: weakref.ref[Any]) -> Any:
    thing = reference()
    if thing is None or reference.__callback__ is not None:
        return NotImplemented
    return weakref.ref, (thing,)


def _method(owner: Any, depth: int, name: str) -> MethodType:
    return MethodType(vars(type(owner).__mro__[depth])[name], owner)


def _attached(function: Any, owner: Any) -> MethodType:
    return MethodType(function, owner)


def _function(
    code: bytes, module: str, closure: tuple[CellType, ...] | None, magic: bytes
) -> FunctionType:
    if magic != MAGIC_NUMBER:
        # Code of another interpreter can crash this one.
        raise pickle.UnpicklingError("it holds a function that another version of Python saved")
    return FunctionType(marshal.loads(code), vars(import_module(module)), None, None, closure)


def _simulation(model: mujoco.MjModel, pickled: bytes) -> mujoco.MjData:
    """Return a further simulation of a model."""
    data = mujoco.MjData(model)
    mujoco.mj_copyData(data, model, pickle.loads(pickled))
    return data


def _blank(kind: Any) -> Any:
    return kind.__new__(kind)


def _memory(owner: Any) -> np.ndarray:
    if isinstance(owner, _Field):
        owner = getattr(owner.owner, owner.name)
    return np.asarray(owner)


def _view(
    owner: Any,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    writeable: bool,
) -> np.ndarray:
    memory = _memory(owner)
    if memory.flags.f_contiguous:
        memory = memory.T
    view = np.ndarray(shape, dtype, memory, offset, strides)
    view.flags.writeable = writeable
    return view


def _storage(content: np.ndarray, device: str) -> torch.UntypedStorage:
    return torch.tensor(content, device=device).untyped_storage()


def _tensor(
    storage: torch.UntypedStorage,
    dtype: torch.dtype,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
) -> torch.Tensor:
    empty = torch.empty(0, dtype=dtype, device=storage.device)
    return empty.set_(storage, offset, size, stride)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
