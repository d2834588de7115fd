"""Checks of a user's network and of its output; every failure inside it becomes one line."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lit_certattr.attribution.base import as_logits
from lit_certattr.errors import InputError, single_line
from lit_certattr.models import Denoised, explained_part
from lit_certattr.preflight.remedies import ONE_AT_A_TIME, remedy


def check_network(model: Any) -> nn.Module:
    """Check that a network is a module whose weights have values, and return it.

    Args:
        model: The network.

    Raises:
        InputError: If it is something else (a class, a function, a state dict), has uninitialised lazy layers or
            weights without values, or contains a denoised network, or if tensors are made elsewhere than on the CPU by
            default; the message names the remedy.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise InputError(f"model must be a network, got the class {model.__name__}: create one, {model.__name__}(...)")
    if isinstance(model, Mapping):
        raise InputError("model must be a torch.nn.Module, got a dict: create the network and load_state_dict into it")
    if not isinstance(model, nn.Module):
        called = getattr(model, "__name__", type(model).__name__) if callable(model) else type(model).__name__
        raise InputError(
            f"model must be a torch.nn.Module, got {called!r} ({type(model).__name__}): "
            "call it in the forward method of a module of your own"
        )
    if (default := torch.get_default_device()).type != "cpu":
        raise InputError(
            f"torch.set_default_device({str(default)!r}) is in force, but numbers beside the images are made on the "
            f"CPU: call torch.set_default_device(None), and move network and images with .to({str(default)!r})"
        )
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(
                f"the lazy layer {name.rpartition('.')[0] or type(model).__name__!r} does not know its size yet: "
                "pass one image through the network first, model(images[:1])"
            )
        if tensor.is_meta:
            raise InputError(f"weight {name} has no values, it is on the meta device: load the network's weights first")
        if tensor.is_inference() and isinstance(tensor, nn.Parameter):
            raise InputError(
                f"weight {name} was made under torch.inference_mode(), so that no gradient can pass: "
                "create or load the network outside of it"
            )
    explained_part(model)
    return model


def logits_of(model: nn.Module, images: Tensor, name: str = "the images", *, may_write: bool = False) -> Tensor:
    """Logits ``[B, num_classes]`` of images, or a one-line error.

    The network gets a copy of the images, so the images stay unchanged.

    Args:
        model: The network, in eval mode.
        images: Images ``[B, C, H, W]``.
        name: Name of the images in messages.
        may_write: Whether it may change its input, which is a copy.

    Raises:
        InputError: If the network fails, changes its input, or returns anything but two or more finite logits.
    """
    output = call_network(model, images, name, may_write=may_write)
    try:
        return check_logits(output, model, len(images), name)
    except InputError:
        if isinstance(model, Denoised) and not bool(torch.isfinite(model.denoise(images.clone())).all()):
            denoiser = type(model.denoiser).__name__
            raise InputError(f"{denoiser} returns NaN or infinity for {name}{_bad_weight(model.denoiser)}") from None
        raise


def call_network(model: nn.Module, images: Tensor, name: str = "the images", *, may_write: bool = False) -> Any:
    """The output of a network for a copy of the images, of any type.

    Args:
        model: The network, in eval mode.
        images: Images ``[B, C, H, W]``.
        name: Name of the images in messages.
        may_write: Whether it may change its input, which is a copy.

    Raises:
        InputError: If the network fails, or changes its input.
    """
    given = images.clone()
    version = _version(given)
    with failures(f"{type(model).__name__} cannot take {name}", model, images):
        output = model(given)
    if not may_write and (_version(given) != version or not torch.equal(given, images)):
        raise InputError(
            f"{type(model).__name__} changes its input in place (for example x.sub_(mean)), which would overwrite the "
            "caller's image: write x = x - mean, or call it with a copy, model(images.clone())"
        )
    return output


def _version(images: Tensor) -> int | None:
    """How often a tensor was written to, where PyTorch counts it."""
    return None if images.is_inference() else images._version


def check_logits(output: Any, model: nn.Module, num_images: int, name: str = "the images") -> Tensor:
    """Check that an output is real, finite logits ``[B, num_classes]`` of at least two classes, and return it.

    Args:
        output: Output of the network.
        model: The network.
        num_images: Number B of images.
        name: Name of the images in messages.

    Raises:
        InputError: If it is anything else; the message says what, and how to wrap the network.
    """
    logits = as_logits(output)
    network = type(model).__name__
    if logits.is_complex() or logits.dtype == torch.bool or logits.layout != torch.strided:
        raise InputError(f"{network} returns logits of {logits.dtype}, {logits.layout}: return real, dense numbers")
    if len(logits) != num_images:
        one = f": {ONE_AT_A_TIME}" if len(logits) == 1 else ""
        raise InputError(
            f"{network} must return one row per image, got {list(logits.shape)} for {num_images} images{one}"
        )
    if logits.shape[1] == 1:
        raise InputError(
            f"{network} returns one logit s, but two or more classes are needed: "
            "use BinaryHead(network) of lit_certattr.models, or return [-s, s], torch.cat([-s, s], dim=1)"
        )
    if logits.shape[1] == 0:
        raise InputError(f"{network} returns no logits; give it a head with as many outputs as there are classes")
    if not bool(torch.isfinite(logits).all()):
        raise InputError(f"{network} returns NaN or infinite logits for {name}{_bad_weight(model)}")
    return logits


@contextmanager
def failures(doing: str, model: nn.Module, images: Tensor) -> Iterator[None]:
    """Turn any exception of a network or method inside the block into one line; see :func:`one_line`.

    That includes ``sys.exit()`` in a forward, which would end the program without a message. A signal that ends the
    command passes: it is raised as a subclass of :class:`SystemExit`, wherever the program happens to be.

    Args:
        doing: What failed, the beginning of the line.
        model: The network.
        images: Its input, ``[B, C, H, W]``.

    Raises:
        InputError: In place of the exception.
    """
    try:
        yield
    except Exception as error:
        raise one_line(error, doing, model, images) from error
    except SystemExit as error:
        if type(error) is not SystemExit:
            raise
        raise one_line(error, doing, model, images) from error


def one_line(error: Exception | SystemExit, doing: str, model: nn.Module, images: Tensor) -> InputError:
    """A failure inside a network or attribution method, as one line that names its type and the likely remedy.

    Args:
        error: The exception; an :class:`InputError` is returned unchanged.
        doing: What failed, the beginning of the line.
        model: The network.
        images: Its input, ``[B, C, H, W]``.
    """
    if isinstance(error, InputError):
        return error
    said = single_line(error) or "no message"
    said = f"{said[:300]} ..." if len(said) > 300 else said
    hint = remedy(error, model, images)
    return InputError(f"{doing} of shape {list(images.shape[1:])}: {type(error).__name__}: {said}" + hint)


def _bad_weight(model: nn.Module) -> str:
    """Names the first weight that is not finite."""
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return f": weight {name} holds NaN or infinity"
    return ""
