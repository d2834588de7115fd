"""A device that is none: tensors of ``standin:0`` keep their values on the CPU, and every hand-over is recorded.

It behaves as an accelerator does: an operation on tensors of two devices fails, nothing gets to or from the device but
by a copy, NumPy cannot read it, and its normals are drawn on the CPU. In addition, it notes each time that Python asks
for a value, so that the device would stand still, each copy to and from it, and, for devices that have none, each
tensor of float64.

The type of the device is known to the whole process from then on, so its tests run in a process of their own.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "standin"
DEVICE = torch.device("privateuseone", 0)
SHAPED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
VALUES = {"_local_scalar_dense", "equal", "is_nonzero"}


class _Module(ModuleType):
    """What torch asks of the module of a device type."""

    def __init__(self) -> None:
        super().__init__(f"torch.{NAME}")

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any = 0) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = 0) -> None:
        torch.set_rng_state(state)


_setup_privateuseone_for_python_backend(NAME, _Module())


class Held(Tensor):
    """A tensor of the device; ``held`` lie on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "Held":
        held = torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        held.held = values
        return held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Held({self.held!r})"

    def tolist(self) -> Any:
        _note("waits", "tolist")
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return run(func, args, kwargs or {})


class Record:
    """What happened on the device.

    Attributes:
        waits: Operations for which Python waits until the device has done all before, and where: a value is asked
            for, or a tensor is copied to or from the device.
        copies: Copies to the device that wait for nothing.
        doubles: Operations that made a tensor of float64.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.doubles: Counter[str] = Counter()


_records: list[Record] = []


def _place() -> str:
    """The innermost line of the package on the stack."""
    for frame in reversed(traceback.extract_stack()):
        if "/lit_certattr/" in frame.filename:
            return f"{frame.filename.rpartition('/lit_certattr/')[2]}:{frame.lineno} {frame.name}"
    return "outside"


def _is_here(device: Any) -> bool:
    return device is not None and torch.device(device).type in (NAME, "privateuseone")


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation: on the values, with its result on the device where it belongs."""
    name = func.overloadpacket.__name__
    inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    held = [one for one in inputs if isinstance(one, Held)]
    to_device = _is_here(kwargs.get("device"))
    plain = dict(tree_map(_values, kwargs))
    if to_device:
        plain["device"] = torch.device("cpu")
    if plain.get("pin_memory") is False:
        plain.pop("pin_memory")
    copies = name in ("_to_copy", "copy_", "copy")
    if held and not copies:
        strange = [one for one in inputs if not isinstance(one, Held) and one.ndim and not one.is_meta]
        if strange and name not in ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"):
            raise RuntimeError(
                f"{name}: expected all tensors on {NAME}, got {[tuple(one.shape) for one in strange]} on cpu"
            )
        if strange:
            _note("waits", f"{name} with indices of the CPU")
    if held and (name in VALUES or name in SHAPED_BY_VALUES or _by_mask(name, args)):
        _note("waits", name)
    if name == "_to_copy":
        leaves = bool(held) and not to_device and kwargs.get("device") is not None
        if leaves or (not held and to_device):
            what = "copy to the CPU" if leaves else "copy to the device"
            _note("copies" if kwargs.get("non_blocking") else "waits", what)
        stays = to_device or (bool(held) and kwargs.get("device") is None)
        return _result(func(*tree_map(_values, args), **plain), stays, args, name)
    if name == "copy_" and len({isinstance(one, Held) for one in inputs[:2]}) == 2:
        _note("waits", "copy_")
    result = func(*tree_map(_values, args), **plain)
    stays = isinstance(inputs[0], Held) if name == "copy_" else bool(held) or to_device
    return _result(result, stays, args, name)


def _by_mask(name: str, args: Any) -> bool:
    indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else []
    return any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in indices)


def _values(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, Held) else leaf


def _result(result: Any, stays: bool, args: Any, name: str) -> Any:
    if not stays:
        return result
    mine = {id(one.held): one for one in tree_leaves(args) if isinstance(one, Held)}

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or isinstance(leaf, Held):
            return leaf
        if leaf.dtype == torch.float64 and leaf.ndim:
            _note("doubles", name)
        return mine[id(leaf)] if id(leaf) in mine else Held(leaf)

    return tree_map(wrapped, result)


def _note(kind: str, what: str) -> None:
    for record in _records:
        getattr(record, kind)[f"{what} at {_place()}"] += 1


class _Factories(TorchDispatchMode):
    """Tensors that are made on the device, or copied to it, have no operand that would dispatch."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_here(kwargs.get("device")) or any(isinstance(leaf, Held) for leaf in tree_leaves((args, kwargs))):
            return run(func, args, kwargs)
        return func(*args, **kwargs)


def _empty_strided(size: Any, stride: Any, **settings: Any) -> Tensor:
    return Held(torch.empty_strided(size, stride, dtype=settings.get("dtype")))


def _empty(size: Any, **settings: Any) -> Tensor:
    return Held(torch.empty(size, dtype=settings.get("dtype")))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    what = "copy to the device" if isinstance(target, Held) else "copy to the CPU"
    _note("copies" if non_blocking else "waits", what)
    _values(target).copy_(_values(source))
    return target


_kernels = torch.library.Library("aten", "IMPL")  # what autograd makes by itself, outside of any mode
_kernels.impl("empty_strided", _empty_strided, "PrivateUse1")
_kernels.impl("empty.memory_format", _empty, "PrivateUse1")
_kernels.impl("_copy_from", _copy_from, "PrivateUse1")


@contextmanager
def standin() -> Iterator[Record]:
    """The device is there, and what happens on it is recorded."""
    record = Record()
    _records.append(record)
    try:
        with _Factories():
            yield record
    finally:
        _records.remove(record)
