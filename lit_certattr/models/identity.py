"""Identify the function that a network computes: by its structure, its weights, and its logits of fixed images.

Equal weights do not mean an equal function: replacing ReLU by Tanh changes no weight.
"""

import enum
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.modes import frozen

TOLERANCE = 1e-3
"""Relative to the largest recorded number; in float32, rounding differs about ten times less between machines."""
_IMAGES, _SUMS = 2, 8


def structure_hash(network: nn.Module) -> str:
    """SHA-256 over the tree of modules: names, classes, arguments, and state other than weights.

    The arguments are the text that a module prints about itself, its plain public attributes (numbers, texts,
    functions, and lists of them), and its buffers that are in no state dict. Weights have their own hash,
    :func:`~lit_certattr.models.network_hash`; :func:`probe` covers what a ``forward`` computes.

    Args:
        network: On any device.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> one, two = nn.Sequential(nn.Linear(2, 1), nn.ReLU()), nn.Sequential(nn.Linear(2, 1), nn.Tanh())
        >>> structure_hash(one) == structure_hash(two)
        False
    """
    digest = hashlib.sha256()
    for name, module in network.named_modules(remove_duplicate=False):
        digest.update(f"{name}: {_path(type(module))}({module.extra_repr()})\n".encode())
        for line in _state(module):
            digest.update(f"  {line}\n".encode())
    return digest.hexdigest()


def _state(module: nn.Module) -> Iterator[str]:
    """State of one module that affects its function and is neither a weight nor printed."""
    if isinstance(module, torch.jit.ScriptModule):
        yield f"{module.original_name} {getattr(module, 'code', '')}"
        return
    if type(module).__module__.startswith("torch."):  # others may add to these what does not matter
        names = [name for name in getattr(module, "__constants__", ()) if hasattr(module, name)]
    else:
        names = [name for name in vars(module) if not name.startswith("_") and name != "training"]
    for name in sorted(names):
        if (text := _plain(getattr(module, name))) is not None:
            yield f"{name}={text}"
    for name in sorted(module._non_persistent_buffers_set):
        if (buffer := module._buffers.get(name)) is not None:
            flat = buffer.detach().cpu().contiguous().reshape(-1)
            values = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
            yield f"{name}={buffer.dtype} {tuple(buffer.shape)} {values}"
    for kind in ("_forward_pre_hooks", "_forward_hooks"):
        for hook in getattr(module, kind).values():
            yield f"{kind}={_plain(hook) or _path(type(hook))}"


def _plain(value: Any) -> str | None:
    """A value as text that is the same in every process; ``None`` for objects, tensors and devices."""
    if value is None or isinstance(value, bool | int | float | str | torch.dtype | enum.Enum):
        return str(value) if isinstance(value, torch.dtype | enum.Enum) else repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, Mapping):
        return _all(f"{key!r}: {_plain(item)}" if _plain(item) is not None else None for key, item in value.items())
    if isinstance(value, list | tuple):
        return _all(_plain(item) for item in value)
    if isinstance(value, functools.partial):
        return _all(_plain(item) for item in (value.func, value.args, value.keywords))
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return _path(value)
    return None


def _all(items: Iterator[str | None]) -> str | None:
    texts = list(items)
    return None if None in texts else f"[{', '.join(map(str, texts))}]"


def _path(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{value.__qualname__}"


def probe(network: nn.Module, shape: Sequence[int]) -> list[float | None]:
    """Sums, with fixed random signs, of the logits that a network gives to two fixed pseudo-random images.

    Args:
        network: Network from images in [0, 1] to logits ``[B, num_classes]``, on any device; it runs without autocast.
        shape: Shape ``(C, H, W)`` of the images.

    Returns:
        16 numbers with six significant digits; ``None`` in place of a number that is not finite.

    Raises:
        InputError: If the network fails on such an image, or returns no logits.

    Example:
        >>> len(probe(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2)))
        16
    """
    weights = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(()))
    pixels = _uniforms(0, _IMAGES * math.prod(shape)).reshape(_IMAGES, 1, *shape)
    found: list[float | None] = []
    with frozen(network), torch.no_grad(), torch.autocast(weights.device.type, enabled=False):
        for image in torch.from_numpy(pixels):
            try:
                logits = network(image.to(weights.device, weights.dtype))
                if not isinstance(logits, Tensor) or logits.ndim != 2:
                    raise InputError("it returns no logits [B, num_classes]")
            except Exception as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                raise InputError(
                    f"{type(network).__name__} cannot take a pseudo-random image of shape {tuple(shape)}, by whose "
                    f"logits it is recognised ({reason[:200]})"
                ) from error
            values = logits[0].double().cpu().numpy()
            signs = np.where(_uniforms(1, _SUMS * len(values)) < 0.5, -1.0, 1.0).reshape(_SUMS, -1)
            with np.errstate(all="ignore"):
                sums = signs @ values / math.sqrt(len(values))
            found += [float(f"{value:.6g}") if math.isfinite(value) else None for value in sums.tolist()]
    return found


def _uniforms(key: int, count: int) -> np.ndarray:
    """Float32 numbers in [0, 1) that are the same on every machine and in every version of NumPy."""
    bits = np.random.Philox(key=key).random_raw(count)
    return ((bits >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)


def same_answers(recorded: Any, now: Sequence[float | None]) -> bool:
    """Whether two results of :func:`probe` belong to the same function, up to :data:`TOLERANCE`.

    Args:
        recorded: Result read from a file; any JSON value.
        now: Result of the present network.
    """
    if not isinstance(recorded, list) or len(recorded) != len(now):
        return False
    if not all(value is None or isinstance(value, int | float) for value in recorded):
        return False
    largest = max((abs(value) for value in recorded if value is not None), default=0.0)
    return all(
        one is two if one is None or two is None else abs(one - two) <= TOLERANCE * largest + 1e-6
        for one, two in zip(recorded, now, strict=True)
    )
