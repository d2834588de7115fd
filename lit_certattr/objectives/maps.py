"""The maps that objectives compare: differentiable, unreduced over channels where a paper has them so."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution import Attribution, RegionMap, input_gradient
from lit_certattr.errors import InputError
from lit_certattr.settings import Settings

Explained = Literal["logit", "loss", "probability"]
"""The function of an image whose gradient is taken: the target's logit, its cross-entropy, or its probability."""


class TrainingMap(Settings, ABC):
    """A map of an image, as a sum of terms whose graphs need not be in memory together."""

    @property
    def search(self) -> Self:
        """The map that a search for the neighbour differentiates: this one, or a cheaper one like it."""
        return self

    @abstractmethod
    def terms(
        self, model: nn.Module, images: Tensor, targets: Tensor, clean: Tensor, create_graph: bool = True
    ) -> Iterator[Tensor]:
        """Terms of the maps ``[B, ...]``, one after the other.

        Args:
            model: Network, prepared as in :func:`~.contexts.explaining`.
            images: Images ``[B, C, H, W]`` whose maps are wanted; the terms depend on them by a differentiable path.
            targets: Class indices ``[B]``.
            clean: The clean images of which these are neighbours, of the same shape.
            create_graph: Keep the graphs of the terms; without, the terms are detached.
        """

    def pair(
        self, model: nn.Module, clean: Tensor, images: Tensor, targets: Tensor, create_graph: bool = True
    ) -> Iterator[Tensor]:
        """Terms ``[2, B, ...]`` of the maps of clean images and neighbours, from one batch."""
        both = torch.cat([clean, images])
        for term in self.terms(model, both, targets.repeat(2), clean.repeat(2, 1, 1, 1), create_graph):
            yield term.unflatten(0, (2, -1))


class AnyMap(TrainingMap):
    """The map ``[B, H, W]`` of an attribution method, e.g. the one of the certificate.

    Args:
        attribution: A method that keeps its graph on request.

    Raises:
        InputError: If its maps are of regions that differ from image to image.
    """

    def __init__(self, attribution: Attribution) -> None:
        self.attribution = in_batches(attribution)

    @override
    def terms(
        self, model: nn.Module, images: Tensor, targets: Tensor, clean: Tensor, create_graph: bool = True
    ) -> Iterator[Tensor]:
        yield self.attribution(model, images, targets, create_graph=create_graph)


class GradientMap(TrainingMap):
    """The signed gradient of every channel, ``[B, C, H, W]``.

    Args:
        of: Function that is differentiated: ``"logit"``, ``"loss"`` or ``"probability"``.
    """

    def __init__(self, of: Explained = "logit") -> None:
        self.of = known_function(of)

    @override
    def terms(
        self, model: nn.Module, images: Tensor, targets: Tensor, clean: Tensor, create_graph: bool = True
    ) -> Iterator[Tensor]:
        yield input_gradient(explained(model, self.of), images, targets, create_graph)[1]


class PathMap(TrainingMap):
    """Integrated gradients of every channel, ``[B, C, H, W]``, from a grey image; one term a group of path points.

    Args:
        steps: Points on the path (midpoint rule).
        search_steps: Points while the neighbour is searched; ``None`` for the same number.
        of: Function that is differentiated: ``"logit"``, ``"loss"`` or ``"probability"``.
        baseline: Grey level of the image at which the path begins.
        max_batch: Most images evaluated at once; ``None`` for all points at once.

    Raises:
        InputError: If a number of points or images is below 1.
    """

    def __init__(
        self,
        steps: int = 10,
        search_steps: int | None = None,
        of: Explained = "logit",
        baseline: float = 0.0,
        max_batch: int | None = None,
    ) -> None:
        _check_steps(steps, search_steps, max_batch)
        self.steps, self.search_steps, self.max_batch = steps, search_steps, max_batch
        self.of = known_function(of)
        self.baseline = baseline

    @property
    def search(self) -> Self:
        """The same with ``search_steps`` points."""
        return self if self.search_steps is None else type(self)(self.search_steps, None, self.of, self.baseline)

    @override
    def terms(
        self, model: nn.Module, images: Tensor, targets: Tensor, clean: Tensor, create_graph: bool = True
    ) -> Iterator[Tensor]:
        start = torch.full_like(images, self.baseline)
        function = explained(model, self.of)
        yield from path_terms(function, start, images, targets, self.steps, self.max_batch, create_graph)


class NeighbourPath(TrainingMap):
    r"""Integrated gradients of every channel from the clean image to its neighbour, ``[B, C, H, W]``.

    The map of the clean image itself is zero, so the distance of the two maps is the size of the neighbour's. Its sum
    is the difference of the function: of the loss, :math:`\ell(\tilde x) - \ell(x)`.

    Args:
        steps: Points on the path (midpoint rule).
        search_steps: Points while the neighbour is searched; ``None`` for the same number.
        of: Function that is differentiated: ``"logit"``, ``"loss"`` or ``"probability"``.
        max_batch: Most images evaluated at once; ``None`` for all points at once.

    Raises:
        InputError: If a number of points or images is below 1.
    """

    def __init__(
        self,
        steps: int = 20,
        search_steps: int | None = 5,
        of: Explained = "loss",
        max_batch: int | None = None,
    ) -> None:
        _check_steps(steps, search_steps, max_batch)
        self.steps, self.search_steps, self.max_batch = steps, search_steps, max_batch
        self.of = known_function(of)

    @property
    def search(self) -> Self:
        """The same with ``search_steps`` points."""
        return self if self.search_steps is None else type(self)(self.search_steps, None, self.of)

    @override
    def terms(
        self, model: nn.Module, images: Tensor, targets: Tensor, clean: Tensor, create_graph: bool = True
    ) -> Iterator[Tensor]:
        function = explained(model, self.of)
        yield from path_terms(function, clean, images, targets, self.steps, self.max_batch, create_graph)

    @override
    def pair(
        self, model: nn.Module, clean: Tensor, images: Tensor, targets: Tensor, create_graph: bool = True
    ) -> Iterator[Tensor]:
        """Zero maps for the clean images, which need no pass, and the maps of their neighbours."""
        for term in self.terms(model, images, targets, clean, create_graph):
            yield torch.stack([torch.zeros_like(term), term])


def explained(model: nn.Module, of: Explained) -> Callable[[Tensor], Tensor]:
    """The function whose "logits" are what is explained: those of ``model``, each class's loss, or its probability.

    Args:
        model: Network from images to logits.
        of: ``"logit"``, ``"loss"`` or ``"probability"``.
    """
    if of == "logit":
        return model
    if of == "loss":
        return lambda images: -model(images.clone()).log_softmax(1)
    return lambda images: model(images.clone()).softmax(1)


def path_terms(
    function: Callable[[Tensor], Tensor],
    start: Tensor,
    end: Tensor,
    targets: Tensor,
    steps: int,
    max_batch: int | None = None,
    create_graph: bool = True,
) -> Iterator[Tensor]:
    r"""Terms of integrated gradients between two images, which add up to

    .. math:: (e - s) \odot \frac1m \sum_{k=1}^m \nabla h\left(s + \tfrac{k - 1/2}{m}(e - s)\right)

    Args:
        function: From images to "logits" ``[B, num_classes]``, of which the target's is h.
        start: Images s ``[B, C, H, W]``.
        end: Images e, of the same shape; the terms depend on them by a differentiable path.
        targets: Class indices ``[B]``.
        steps: Number m of points.
        max_batch: Most images evaluated at once; ``None`` for all points at once.
        create_graph: Keep the graphs.
    """  # noqa: D415  (the formula ends the sentence)
    path = end - start
    group = steps if max_batch is None else max(1, max_batch // len(end))
    for first in range(0, steps, group):
        count = min(group, steps - first)
        shares = (torch.arange(first, first + count, device=end.device, dtype=end.dtype) + 0.5) / steps
        points = (start + shares.view(-1, 1, 1, 1, 1) * path).flatten(0, 1)
        _, gradients = input_gradient(function, points, targets.repeat(count), create_graph)
        term = path * gradients.unflatten(0, (count, -1)).sum(0) / steps
        yield term if create_graph else term.detach()


def in_batches(attribution: Attribution) -> Attribution:
    """The method, if one and the same explains all images of a batch.

    An objective sees images without their ids, and the training data may have cropped and flipped them: masks of files
    would not fit, and superpixels would have to be computed anew at every step.

    Args:
        attribution: A method that is trained on.

    Raises:
        InputError: If its maps are of regions that differ from image to image.
    """
    if isinstance(attribution, RegionMap) and attribution.regions.of_image:
        raise InputError(
            f"the regions of {type(attribution.regions).__name__} differ from image to image, and training knows no "
            "ids of images: train with regions: Grid(...) of about as many cells, and certify with the others"
        )
    return attribution


def known_function(of: Explained) -> Explained:
    """The name of the function that is explained, if it is one.

    Args:
        of: What the user gave.

    Raises:
        InputError: If it is none.
    """
    if of not in get_args(Explained):
        raise InputError(f"of must be one of {', '.join(get_args(Explained))}, got {of!r}")
    return of


def _check_steps(*numbers: int | None) -> None:
    if any(number is not None and number < 1 for number in numbers):
        raise InputError(f"steps, search_steps and max_batch must be at least 1, got {', '.join(map(str, numbers))}")
