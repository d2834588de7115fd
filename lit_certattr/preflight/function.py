"""Whether network and attribution method are one fixed function of each image alone, as every theorem needs."""

import weakref
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution
from lit_certattr.errors import InputError
from lit_certattr.models.fold import tensor_versions
from lit_certattr.preflight.agreement import (
    autocast_type,
    difference,
    maps_agree_within,
    relative_distance,
    repeats_within,
    unit_of_rounding,
)
from lit_certattr.preflight.network import call_network, check_logits, failures, logits_of
from lit_certattr.preflight.remedies import mixing

CHECKS = ("finite", "input unchanged", "repeatable", "independent of the batch")
"""The properties that :func:`check_function` checks; recorded with every result."""


@attrs.frozen
class Findings:
    """Results of the passes before the sampling.

    Attributes:
        map_shape: Height and width of the maps.
        repeated: Largest difference between two passes over the same image, relative to its logits or its map.
        beside_others: The same difference between an image alone and the image in a batch; normally rounding only.
    """

    map_shape: tuple[int, int]
    repeated: float
    beside_others: float


def explain(
    attribution: Attribution, model: nn.Module, images: Tensor, targets: Tensor, name: str = "the images"
) -> Tensor:
    """Maps ``[B, H, W]`` of images, or a one-line error. The images stay unchanged.

    Args:
        attribution: The method.
        model: The network, in eval mode, with frozen parameters.
        images: Images ``[B, C, H, W]``.
        targets: Class indices ``[B]``.
        name: Name of the images in messages.

    Raises:
        InputError: If the method fails, returns anything but maps, or maps that are not finite.
    """
    given = images.clone()
    method = type(attribution).__name__
    with failures(f"{method} cannot explain {name}", model, images):
        maps: Any = attribution(model, given, targets)
    if not torch.equal(given, images):
        raise InputError(
            f"{method} changes the images that it explains in place; let it work on a copy, images.clone()"
        )
    if not isinstance(maps, Tensor) or maps.is_complex():
        got = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise InputError(f"{method} must return a real tensor of maps [B, H, W], got {got}")
    if maps.ndim != 3 or len(maps) != len(images) or not maps.numel():
        raise InputError(f"{method} must return maps [B, H, W], got shape {list(maps.shape)} for {len(images)} images")
    if not bool(torch.isfinite(maps).all()):
        raise InputError(f"the {method} map of {name} holds NaN or infinity; check weights, precision and the method")
    detached: Tensor = maps.detach()
    return detached


_known: WeakKeyDictionary[nn.Module, tuple[Any, ...]] = WeakKeyDictionary()
"""For each network what it was last checked with; the check is made again when any of it changes."""


def check_function(
    model: nn.Module, attribution: Attribution, image: Tensor, noisy: Tensor, target: int, name: str
) -> Findings:
    """Check that network and method are one fixed function of each image alone, on a clean image and noisy ones.

    Seven images pass through the network and through the method: the image twice alone, then in a batch beside its
    negative, its mirror image and noisy copies. Two passes over one image must agree: dropout that stays on in eval
    mode causes large differences, arithmetic causes none (on accelerators small ones, since sums have no fixed order).
    An image alone and in a batch must agree up to rounding: with batch normalisation without running statistics they do
    not.

    The check is not repeated for the same network, weights, method and image format.

    Args:
        model: The network, in eval mode, with frozen parameters.
        attribution: The method.
        image: Image ``[1, C, H, W]``.
        noisy: Noisy copies ``[b, C, H, W]``, b at least 1, in the memory format of the sampling.
        target: Class to explain.
        name: Name of the image in messages.

    Returns:
        The measured differences, see :class:`Findings`.

    Raises:
        InputError: If a check fails; the message names the fault and the likely remedy.
    """
    state = (
        weakref.ref(attribution),
        tensor_versions(model),
        tuple(image.shape),
        noisy.stride()[1:],
        image.dtype,
        image.device,
        autocast_type(image),
        torch.get_num_threads(),
    )
    known = _known.get(model)
    if known is None or known[0] != state:
        _known[model] = known = (state, _check_function(model, attribution, image, noisy, target, name))
    findings: Findings = known[1]
    return findings


def check_shape(attribution: Attribution, maps: Tensor, expected: tuple[int, int]) -> None:
    """Refuse maps ``[B, H, W]`` of another height and width than those of other images.

    Args:
        attribution: The method.
        maps: Maps ``[B, H, W]``.
        expected: Height and width of the maps of other images.

    Raises:
        InputError: If the maps have another height or width.
    """
    if tuple(maps.shape[1:]) != expected:
        raise InputError(
            f"{type(attribution).__name__} must return maps of one shape [H, W] for all images: got "
            f"{list(maps.shape[1:])} and {list(expected)}"
        )


def _check_function(
    model: nn.Module, attribution: Attribution, image: Tensor, noisy: Tensor, target: int, name: str
) -> Findings:
    if not bool(torch.isfinite(noisy).all()):
        raise InputError(f"noisy copies of {name} hold NaN or infinity; choose milder noise")
    beside = among(image, noisy)
    targets = torch.full((len(beside),), target, device=image.device)
    what = f"noisy copies of {name}"
    logits, repeated, apart = check_predictions(model, image, beside, name, what)

    maps = [explain(attribution, model, image, targets[:1], name) for _ in range(2)]
    repeated = max(repeated, difference(*maps))
    if repeated > repeats_within(model, image, logits):
        raise InputError(_random(f"{type(model).__name__} and {type(attribution).__name__} give", repeated))
    with failures(f"{type(attribution).__name__} cannot explain {what}", model, beside):
        explained = attribution(model, beside.clone(), targets).detach()
    map_shape = (maps[0].shape[1], maps[0].shape[2])
    if explained.ndim != 3 or len(explained) != len(beside):
        raise InputError(
            f"{type(attribution).__name__} must return maps [B, H, W], got {list(explained.shape)} for {len(beside)} "
            "images"
        )
    check_shape(attribution, explained, map_shape)
    moved = relative_distance(maps[0], explained[_PLACE : _PLACE + 1])
    if not moved <= maps_agree_within(model, image, logits):
        raise InputError(mixes(type(attribution).__name__, "map", moved, model))
    return Findings(map_shape, repeated, max(apart, moved))


_PLACE = 1
"""Where the image is in the batch: neither first nor in the middle, where turning a batch around would leave it."""


def among(image: Tensor, others: Tensor) -> Tensor:
    """A batch of an image and of others, of its negative and of its mirror image, in the memory format of the others.

    Args:
        image: Image ``[1, C, H, W]``.
        others: Images ``[b, C, H, W]`` of its kind, b at least 0.
    """
    companions = torch.cat([others, 1 - image, image.flip(-1)])
    batch = torch.cat([companions[:_PLACE], image, companions[_PLACE:]])
    return batch.to(memory_format=_format(others) if len(others) else torch.contiguous_format)


def check_predictions(
    model: nn.Module,
    image: Tensor,
    beside: Tensor,
    name: str,
    others: str = "a batch of images",
    *,
    may_write: bool = False,
) -> tuple[Tensor, float, float]:
    """Check that the logits of a network are one fixed function of each image alone.

    Args:
        model: The network, in eval mode, with frozen parameters.
        image: Image ``[1, C, H, W]``.
        beside: The batch of it and others that :func:`among` gives.
        name: Name of the image in messages.
        others: Name of the batch in messages.
        may_write: Whether the network may change the copies of the images that it gets.

    Returns:
        The logits of the image ``[1, num_classes]``, and the largest relative differences of two passes over it, and
        of a pass over it alone and one in the batch.

    Raises:
        InputError: If the network fails, changes its input, returns no logits, is random, or mixes images.
    """
    logits = [logits_of(model, image, name, may_write=may_write) for _ in range(2)]
    repeated = difference(*logits)
    if repeated > repeats_within(model, image, logits[0]):
        raise InputError(_random(f"{type(model).__name__} gives", repeated))
    output = call_network(model, beside, others, may_write=may_write)
    together = check_logits(_finite_rows(output, _PLACE), model, len(beside), name)
    apart = difference(logits[0], together[_PLACE : _PLACE + 1])
    rounding = unit_of_rounding(model, image, logits[0])
    spread = float((together.amax() - together.amin()).abs() / together.abs().amax().clamp(min=1e-30))
    if apart > rounding**0.5 * min(1.0, spread) + 64 * rounding:
        raise InputError(mixes(type(model).__name__, "logits", apart, model))
    return logits[0], repeated, apart


def _random(who: str, repeated: float) -> str:
    """The message about a result that differs between two passes."""
    return (
        f"{who} another result for the same image each time (difference {repeated:.1g}), even in eval mode; remove "
        "the source of randomness: dropout without training=self.training, noise layers, random masks; or "
        "what forward remembers: a counter, a running mean"
    )


def _finite_rows(output: Any, place: int) -> Any:
    """Logits in which only the row of the clean image must be finite: noisy ones that are not never vote."""
    if not isinstance(output, Tensor) or output.ndim != 2 or not output.is_floating_point():
        return output
    valid = torch.isfinite(output).all(1, keepdim=True)
    valid[place : place + 1] = True
    return torch.where(valid, output, 0)


def mixes(what: str, kind: str, moved: float, model: nn.Module) -> str:
    """The message about an image whose result depends on the other images of its batch.

    Args:
        what: The network or the method.
        kind: What differs: ``"logits"`` or ``"map"``.
        moved: Relative difference.
        model: The network, whose layers may give the reason.
    """
    return (
        f"the {kind} of {what} for an image depends on the other images of the batch (relative difference "
        f"{moved:.1g}), so no statement about one image holds: {mixing(model)}"
    )


def _format(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
