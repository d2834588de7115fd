"""Logits that a method computes anyway, so that nobody has to run the network again for the prediction.

A map of a noisy image usually needs the logits of that image: their gradient is the map. Whoever wants them opens a
:class:`LogitsRecord` around the method, and the functions with which methods run the network
(:func:`~lit_certattr.attribution.input_gradient`, :func:`~lit_certattr.attribution.layer_pass`) hand theirs in with
:func:`note_logits`. Logits of other images, such as the points on the path of integrated gradients, masked copies or
copies with more noise, are not kept: a record accepts a pass only if its input is the recorded batch itself, or rows of
it, in the same memory, unchanged.
"""

from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any

import torch
from torch import Tensor, nn

_open: ContextVar["LogitsRecord | None"] = ContextVar("record of logits", default=None)


class LogitsRecord(AbstractContextManager["LogitsRecord"]):
    """Keeps the logits of a batch of images from the passes that are made inside the block.

    Args:
        model: The network.
        images: Images ``[B, C, H, W]``.

    Example:
        >>> net, images = nn.Flatten(), torch.rand(2, 1, 1, 3)
        >>> with LogitsRecord(net, images) as record:
        ...     note_logits(net, images[:1], net(images[:1]))
        ...     note_logits(net, images * 2, net(images * 2))  # of other images
        >>> record.logits is None  # of one image only
        True
        >>> with record:
        ...     note_logits(net, images[1:], net(images[1:]))
        >>> torch.equal(record.logits, images.flatten(1))
        True
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._model, self._images = _eager(model), images
        self._version = _version(images)
        self._parts: dict[int, Tensor] = {}
        self._tokens: list[Token[LogitsRecord | None]] = []

    def __enter__(self) -> "LogitsRecord":
        self._tokens.append(_open.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _open.reset(self._tokens.pop())

    @property
    def logits(self) -> Tensor | None:
        """Logits ``[B, num_classes]``, detached; ``None`` if some image has passed the network in no recorded pass."""
        parts, row = [], 0
        while row < len(self._images) and row in self._parts:
            parts.append(self._parts[row])
            row += len(parts[-1])
        if row != len(self._images) or not parts:
            return None
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def add(self, model: Any, images: Tensor, logits: Tensor) -> None:
        """Keep logits if they are those of rows of the images.

        Args:
            model: What was run.
            images: Its input.
            logits: Its output.
        """
        if _eager(model) is not self._model or logits.ndim != 2 or len(logits) != len(images):
            return
        if (row := self._row_of(images)) is not None:
            self._parts[row] = logits.detach()

    def _row_of(self, images: Tensor) -> int | None:
        """Index of the first of these rows in the batch; ``None`` if they are other images."""
        own = self._images
        if (images.shape[1:], images.dtype, images.device) != (own.shape[1:], own.dtype, own.device):
            return None
        if images.stride()[1:] != own.stride()[1:] or (len(images) > 1 and images.stride(0) != own.stride(0)):
            return None
        try:
            same = images.untyped_storage().data_ptr() == own.untyped_storage().data_ptr()
        except (RuntimeError, NotImplementedError):  # a tensor without memory, e.g. inside a function transform
            return None
        if not same or self._version is None or _version(images) != self._version:
            return None
        offset = int(images.storage_offset()) - int(own.storage_offset())
        row, rest = divmod(offset, own.stride(0) or 1)
        return row if rest == 0 and 0 <= row <= len(own) - len(images) else None


def note_logits(model: Any, images: Tensor, logits: Tensor) -> None:
    """Hand in the logits of a pass to the open record, if there is one; a method of your own may call it as well.

    Args:
        model: The network that was run, as the method has received it.
        images: The images that it was run on, ``[b, C, H, W]``: those that the method has received, or rows of them,
            not a copy.
        logits: Its logits ``[b, num_classes]``.
    """
    if (record := _open.get()) is not None:
        record.add(model, images, logits)


def class_votes(logits: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Which images are predicted as a class, and which as another one.

    An image with a logit that is not finite, or whose class ties with another one, is neither.

    Args:
        logits: Logits ``[B, num_classes]``.
        target: The class.

    Returns:
        Two boolean tensors ``[B]``.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [torch.inf, 0.0]])
        >>> [votes.tolist() for votes in class_votes(logits, 0)]
        [[True, False, False, False], [False, True, False, False]]
    """
    valid = torch.isfinite(logits).all(1)
    own = logits[:, target, None]
    return valid & ((logits >= own).sum(1) == 1), valid & (logits > own).any(1)


def _eager(model: Any) -> Any:
    """The network behind ``torch.compile``."""
    return getattr(model, "_orig_mod", model)


def _version(images: Tensor) -> int | None:
    """How often a tensor has been written to; ``None`` for one that does not count it."""
    return None if images.is_inference() else images._version


def predict(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Logits from a forward pass of their own, without a graph.

    Args:
        model: The network.
        images: Images ``[B, C, H, W]``; the network gets a copy.
        targets: Not used; it makes this a function like the others of a block.
    """
    with torch.no_grad():
        logits: Tensor = model(images.clone())
    return logits
