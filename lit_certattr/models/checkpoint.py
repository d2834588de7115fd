"""Checkpoints are untrusted input: nothing in them is ever executed."""

import hashlib
import inspect
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.names import suggestion

# What Lightning modules, DataParallel and torch.compile put before the names of a network's tensors.
_PREFIXES = ("net.", "model.", "module.", "_orig_mod.")


def _read(path: Path) -> Mapping[str, Any]:
    """The file's top-level mapping, read without executing anything."""
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist or is not a file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is None:
            raise InputError(f"{path} is not a PyTorch checkpoint, or it is damaged") from error
        raise InputError(
            f"checkpoint {path} holds a pickled object ({forbidden[1]}) that could run code: not loaded; "
            "save the state dict alone"
        ) from error
    except PermissionError as error:
        raise InputError(f"checkpoint {path} may not be read: permission denied") from error
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, SafetensorError) as error:
        raise InputError(f"{path} is not a PyTorch checkpoint, or it is damaged") from error
    if not isinstance(content, Mapping):
        raise InputError(f"checkpoint {path} holds a {type(content).__name__}, not a state dict")
    return content


def _tensors(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict itself, alone in the file or under the usual names."""
    for name in ("state_dict", "model"):
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"checkpoint {path} holds no state dict of tensors")
    return dict(content)


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint (.ckpt, .pt, .pth, .safetensors) without running any code from it.

    Args:
        path: A state dict, or a checkpoint that holds one as ``state_dict`` (Lightning) or ``model``.

    Returns:
        Tensors on the CPU under the names that the file gives them.

    Raises:
        InputError: If the file is missing or damaged, is no checkpoint, or holds pickled objects.
    """
    path = Path(path)
    return _tensors(_read(path), path)


def _strip(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the part of ``state`` that belongs to the network, under the network's own names."""
    while own.keys().isdisjoint(state):
        for prefix in _PREFIXES:
            below = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
            if below:
                state = below
                break
        else:
            break
    return state


def _fill(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    state = _strip(state, own)
    problems = []
    for kind, names in (
        ("lacks", [name for name in own if name not in state]),
        ("has the unexpected", [name for name in state if name not in own]),
        (
            "has another shape for",
            [
                f"{name} ({tuple(state[name].shape)} instead of {tuple(own[name].shape)})"
                for name in own
                if name in state and state[name].shape != own[name].shape
            ],
        ),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            problems.append(f"{kind} {', '.join(names[:3])}{more}")
    if problems:
        raise InputError(f"checkpoint {path} does not fit {type(network).__name__}: it {'; it '.join(problems)}")
    network.load_state_dict(state)


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a checkpoint into a network, strictly.

    The prefixes ``net.``, ``model.``, ``module.`` and ``_orig_mod.`` that Lightning modules, data parallelism
    and ``torch.compile`` add are removed; tensors of a Lightning checkpoint outside the network are left out.

    Args:
        network: Receives the weights.
        path: See :func:`load_state_dict`.

    Raises:
        InputError: If the file cannot be read safely, or names or shapes differ: the message gives the first.
    """
    path = Path(path)
    _fill(network, _tensors(_read(path), path), path)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


def load_network(path: str | Path) -> nn.Module:
    """Rebuild the network of a Lightning checkpoint written by ``train.py fit``.

    The checkpoint names the class of its network and the arguments. Only the public networks of
    :mod:`lit_certattr.models` are built, with plain values as arguments; everything else is refused, so a
    hostile checkpoint cannot choose what runs. Weights come from the checkpoint alone: arguments that
    name another source of weights are ignored.

    Args:
        path: A Lightning checkpoint whose hyper-parameters hold ``net: {class_path, init_args}``.

    Returns:
        The network with its weights, on the CPU, in evaluation mode.

    Raises:
        InputError: If the file cannot be read safely, names no network of ours, or does not fit it.
    """
    from lit_certattr import models  # the networks themselves use this file

    path = Path(path)
    content = _read(path)
    hyper_parameters = content.get("hyper_parameters")
    spec = hyper_parameters.get("net") if isinstance(hyper_parameters, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(spec.get("class_path"), str):
        raise InputError(f"checkpoint {path} does not say which network it holds; name the network in the config")

    networks: dict[str, type[nn.Module]] = {}
    for name in models.__all__:
        candidate = getattr(models, name)
        if inspect.isclass(candidate) and issubclass(candidate, nn.Module):
            networks |= {f"{models.__name__}.{name}": candidate, f"{candidate.__module__}.{name}": candidate}
    class_path = spec["class_path"]
    if class_path not in networks:
        raise InputError(
            f"checkpoint {path} names the network {class_path!r}, which is not one of lit_certattr.models; "
            "name the network in the config"
        )
    init_args = spec.get("init_args") or {}
    if not isinstance(init_args, Mapping) or not all(
        isinstance(key, str) and _is_plain(value) for key, value in init_args.items()
    ):
        raise InputError(f"checkpoint {path} has arguments for {class_path} that are not plain values")
    no_weights = {"weights": None, "pretrained": False}
    parameters = inspect.signature(networks[class_path]).parameters
    init_args = {**init_args, **{key: value for key, value in no_weights.items() if key in parameters}}
    unknown = next((key for key in init_args if key not in parameters), None)
    if unknown is not None:
        raise InputError(
            f"checkpoint {path} gives {class_path} the argument {unknown!r}; {suggestion(unknown, parameters)}"
        )
    try:
        network = networks[class_path](**init_args)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} has arguments that {class_path} refuses: {reason}") from error
    _fill(network, _tensors(content, path), path)
    return network.eval()


def network_hash(network: nn.Module) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of the state dict: which function a result belongs to.

    Args:
        network: On any device; the hash is that of its values, wherever they are.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> before = network_hash(layer)
        >>> _ = nn.init.zeros_(layer.bias)
        >>> network_hash(layer) == before
        False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
