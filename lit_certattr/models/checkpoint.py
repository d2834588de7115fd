"""Checkpoints are untrusted input: nothing in them is ever executed."""

import hashlib
import inspect
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lit_certattr.errors import InputError
from lit_certattr.files.home import at_home
from lit_certattr.models.checkpoint_file import read_checkpoint
from lit_certattr.models.checkpoint_weights import mappings_of_tensors, select_weights
from lit_certattr.models.names import suggestion

_TRAINING = re.compile(r"(optim|lr_|sched|callbacks|loops|scaler|hyper_parameters|hparams|datamodule)", re.IGNORECASE)
"""Keys of a checkpoint that hold the state of training."""


def load_state_dict(path: str | Path, weights_key: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint (.ckpt, .pt, .pth, .safetensors) without running any code from it.

    Args:
        path: A state dict, or a checkpoint that holds one under any key (``state_dict``, ``model``, ...).
        weights_key: That key; needed if the file holds several state dicts (``state_dict_ema``).

    Returns:
        Tensors on the CPU under the names that the file gives them.

    Raises:
        InputError: If the file is missing or damaged, is no checkpoint, holds pickled objects or several state dicts.
    """
    path = as_path(path)
    content = read_checkpoint(path)
    found = dict(mappings_of_tensors(content))
    if weights_key is not None:
        if weights_key.strip(".") not in found:
            keys = ", ".join(map(repr, found)) or "none"
            raise InputError(f"checkpoint {path} has no state dict {weights_key!r}; there are: {keys}")
        return found[weights_key.strip(".")]
    if "" in found and len(found[""]) == len(content):
        return found[""]
    found = {key: tensors for key, tensors in found.items() if key and not _TRAINING.match(key)}
    if not found:
        raise InputError(f"checkpoint {path} holds no state dict of tensors")
    if len(found) > 1:
        keys = ", ".join(map(repr, found))
        raise InputError(f"checkpoint {path} holds several state dicts: {keys}; choose one with weights_key")
    return next(iter(found.values()))


def _fill(network: nn.Module, content: Mapping[Any, Any], path: Path, weights_key: str | None) -> None:
    """Load the weights of the network from a checkpoint, and warn of tensors that look like weights but stay out."""
    tensors, left_out = select_weights(content, network, path, weights_key)
    if left_out:
        names = ", ".join(left_out[:3]) + (f" and {len(left_out) - 3} more" if len(left_out) > 3 else "")
        warnings.warn(
            f"checkpoint {path}: left out {names}, which {type(network).__name__} does not have",
            UserWarning,
            stacklevel=3,
        )
    network.load_state_dict(tensors, strict=False)  # names and shapes have been compared, more strictly than there


def as_path(path: str | Path) -> Path:
    """The path of a file of weights; ``~`` is the home directory.

    Args:
        path: What the user gave.

    Raises:
        InputError: If it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"weights must be the path of a file, got {path!r:.80}")
    return at_home(path)


def check_weights_key(path: str | Path | None, weights_key: str | None) -> None:
    """Refuse ``weights_key`` if no file is given.

    Args:
        path: The file, or ``None``.
        weights_key: The key, or ``None``.

    Raises:
        InputError: If a key is given without a file, or something else than a path.
    """
    if path is not None:
        as_path(path)
    if path is None and weights_key is not None:
        raise InputError(
            f"weights_key={weights_key!r} selects weights from a file, but no file is given; set weights to its path, "
            "or remove weights_key"
        )


def load_weights(network: nn.Module, path: str | Path, weights_key: str | None = None) -> None:
    """Load a checkpoint into a network, strictly, whatever the weights are wrapped in.

    The file may hold the weights under any key (``state_dict``, ``model_state_dict``, ``net``, ...), and a prefix may
    stand before their names, or before the network's own (``net.``, ``1.module.``, ``backbone.``): the names of the
    network and of the file must be equal except for one prefix on either side, and all shapes must be equal. ``module``
    and ``_orig_mod``, which data parallelism and ``torch.compile`` add, are ignored. Tensors outside that prefix are
    left out; a warning names those that may be a normalisation.

    Counters of batch normalisation (``num_batches_tracked``) may be missing, and the constants of a
    :class:`~lit_certattr.models.Normalize` layer: the network then keeps its own. Heads that serve training only
    (``aux1``, ``AuxLogits``) may be in the file without being in the network: they are left out with a warning.

    Args:
        network: Receives the weights. It stays unchanged if an error is raised.
        path: A file of ``torch.save`` or of safetensors; nothing in it is executed.
        weights_key: Which set of weights to load, if the file holds several for this network (an average beside the
            weights, a teacher beside a student): the keys that lead to it and the prefix of its names, or consecutive
            parts of them: ``state_dict_ema``, ``state_dict.encoder_q``, ``teacher``.

    Raises:
        InputError: If the file cannot be read safely, holds no set of weights for this network or several, or holds
            values that cannot be weights (sparse, complex, quantised, NaN, infinite). The message lists the names
            found.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "weights.pth"
        >>> torch.save({"model_state_dict": {f"module.{k}": v for k, v in nn.Linear(2, 1).state_dict().items()}}, path)
        >>> load_weights(nn.Linear(2, 1), path)
    """
    path = as_path(path)
    own = [value for value in network.state_dict().values() if isinstance(value, Tensor)]
    if any(is_lazy(value) for value in own):
        raise InputError(f"{type(network).__name__} has lazy layers; call it once on an image before loading weights")
    size = sum(value.nbytes for value in own)
    _fill(network, read_checkpoint(path, size), path, weights_key)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


def load_network(path: str | Path, weights_key: str | None = None) -> nn.Module:
    """Rebuild the network of a Lightning checkpoint written by ``train.py fit``.

    The checkpoint names the class of its network and the arguments. Only the public networks of
    :mod:`lit_certattr.models` are built, with plain values as arguments; everything else is refused, so a
    hostile checkpoint cannot choose which code runs. Weights come from the checkpoint alone: arguments that
    name another source of weights are ignored.

    Args:
        path: A Lightning checkpoint whose hyper-parameters hold ``net: {class_path, init_args}``, or ``denoiser`` in
            place of ``net``.
        weights_key: See :func:`load_weights`.

    Returns:
        The network with its weights, on the CPU, in evaluation mode.

    Raises:
        InputError: If the file cannot be read safely, names no network of this package, or does not fit it.
    """
    from lit_certattr import models  # the networks themselves use this file

    path = as_path(path)
    content = read_checkpoint(path)
    hyper_parameters = content.get("hyper_parameters")
    trained = hyper_parameters if isinstance(hyper_parameters, Mapping) else {}
    spec = trained.get("net", trained.get("denoiser"))
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
    no_weights = {"weights": None, "weights_key": None, "pretrained": False}
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
    _fill(network, content, path, weights_key)
    return network.eval()


def network_hash(network: nn.Module) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of the state dict: it identifies the weights of a result.

    Args:
        network: On any device; the hash depends on the values alone.

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
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def tensor_digests(network: nn.Module) -> dict[str, str]:
    """A short digest of each tensor of the state dict, in its order, to name the first one that differs.

    Args:
        network: On any device.

    Returns:
        8 hexadecimal digits by name; too few to identify weights, which :func:`network_hash` does.
    """
    return {
        name: hashlib.blake2b(_bytes_of(tensor), digest_size=4).hexdigest()
        for name, tensor in network.state_dict().items()
    }


def _bytes_of(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    content: bytes = flat.view(torch.uint8).numpy().tobytes()
    return content
