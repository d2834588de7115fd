"""The base class of attribution methods, and the gradients that they need."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from reprlib import recursive_repr
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_certattr.attribution.image_convolution import ImageConvolutions
from lit_certattr.errors import InputError
from lit_certattr.models.compiled import is_compiled
from lit_certattr.models.denoised import Denoised
from lit_certattr.settings import Settings
from lit_certattr.settings.identity import as_arguments
from lit_certattr.settings.plain import is_plain
from lit_certattr.smoothing.logits import LogitsRecord, note_logits

ChannelReduction = Literal["sum_abs", "abs_sum", "max_abs", "sum", "l2"]

ImageScore = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""From network, images ``[B, C, H, W]`` and targets ``[B]`` to one number for each image, ``[B]``."""


class Attribution(Settings, ABC):
    """A method that explains a class of a network by a map over the pixels.

    A subclass implements ``__call__``. It must be one fixed function of each image: no statistics over the
    batch, no use of any other image, no state between calls; otherwise certificates do not hold.

    A method whose map is the gradient of a score in [0, 1] may offer that score as a method
    ``score(model, images, targets)`` that returns ``[B]``. Certificates with ``needs_score`` require it
    (:func:`score_of`). It must be a fixed function of each image, too.

    A :class:`~lit_certattr.models.Denoised` network is explained at the denoised image, by every method: ``__call__``
    of a subclass gets the denoised images and the network behind the denoiser, unless ``explain_at`` of the network
    says otherwise.

    Args:
        channels: For methods that call :meth:`reduce`, how the scores of the channels of a pixel become one number;
            ``None`` for methods that give one number per pixel. ``"sum_abs"``: sum of absolute
            values; ``"abs_sum"``: absolute value of the sum; ``"max_abs"``: largest absolute value; ``"sum"``:
            signed sum, so that only evidence *for* the class ranks high; ``"l2"``: root of the sum of squares.

    Raises:
        InputError: If ``channels`` is not one of these.

    Example:
        >>> class Brightness(Attribution):
        ...     def __call__(self, model, images, targets, create_graph=False):
        ...         return images.mean(1)
        >>> Brightness()(nn.Identity(), torch.ones(2, 3, 4, 4), torch.tensor([0, 1])).shape
        torch.Size([2, 4, 4])
    """

    channels: ChannelReduction | None = None

    class_rule: str | None = None
    """How the explained class is chosen, if it is not the target; recorded with every certificate."""

    hands_on_network: ClassVar[bool] = False
    """Whether the method is made of another one, which gets the network (and denoises) in its place."""

    needs_layers: bool = False
    """Whether the method looks at layers of the network or changes what they do, which is not possible in a compiled
    one; a method of your own that does so should say it, else it is compared with the network as it is."""

    partition: Tensor | None = None
    """Regions to which the values of a map belong, see :meth:`Regions.__call__`; ``None`` if they belong to pixels."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__call__" in vars(cls) and not cls.hands_on_network:
            cls.__call__ = _at_denoised_image(cls.__call__)  # type: ignore[method-assign]

    def __init__(self, channels: ChannelReduction | None = None) -> None:
        if channels is None:
            return
        if channels not in get_args(ChannelReduction):
            raise InputError(f"channels must be one of {', '.join(get_args(ChannelReduction))}, got {channels!r}")
        self.channels = channels

    @recursive_repr()
    def __repr__(self) -> str:
        public = {name: value for name, value in vars(self).items() if not name.startswith("_") and is_plain(value)}
        named = self.init_args() | public
        if self.channels is None:  # a method without such a rule says nothing of one, as in the records of older runs
            named.pop("channels", None)
        return f"{type(self).__name__}({as_arguments(dict(sorted(named.items())))})"

    @abstractmethod
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Explain the target class of each image.

        Args:
            model: Network from images in [0, 1] to logits ``[B, num_classes]``.
            images: Images ``[B, C, H, W]``.
            targets: Class indices ``[B]``.
            create_graph: Keep the graph, so that a loss of the map can be differentiated.

        Returns:
            Maps ``[B, H, W]``; detached unless ``create_graph``. ``.grad`` of the parameters is never touched.
        """

    def placed(self, image: Tensor, image_id: str) -> "Attribution":
        """The method for one image and everything near it; called once per image, before anything is sampled.

        Most methods treat all images alike and return themselves. A method that chooses something by the clean image,
        such as its regions, returns a method for which the choice is fixed.

        Args:
            image: The clean image ``[C, H, W]`` in [0, 1].
            image_id: Id of the image.

        Returns:
            The method, with the same ``repr``; placed again, it returns itself.

        Raises:
            InputError: If the method cannot be used for this image; the message names the image.
        """
        return self

    def reduce(self, scores: Tensor) -> Tensor:
        """Reduce scores of channels to maps ``[B, H, W]``, by the rule ``channels``.

        Args:
            scores: Scores ``[B, C, H, W]``.

        Raises:
            InputError: If the method was created without ``channels``.
        """
        match self.channels:
            case None:
                raise InputError(
                    f"{type(self).__name__} reduces channels but was created without a rule: "
                    "call super().__init__(channels='sum_abs') in its __init__"
                )
            case "sum_abs":
                return scores.abs().sum(1)
            case "abs_sum":
                return scores.sum(1).abs()
            case "max_abs":
                return scores.abs().amax(1)
            case "l2":
                length: Tensor = torch.linalg.vector_norm(scores, dim=1)
                return length
            case _:
                return scores.sum(1)


def _at_denoised_image(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method ``call``, which explains a denoised network behind its denoiser, at the denoised image."""

    @functools.wraps(call)
    def explain(
        self: Attribution, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False
    ) -> Tensor:
        if not isinstance(model, Denoised) or model.explain_at != "denoised":
            return call(self, model, images, targets, create_graph)
        with graph_mode(create_graph):  # an attack on the map needs the graph of the denoiser; the map does not
            denoised = model.denoise(own_copy(model, ordinary(images)))
        with LogitsRecord(model.network, denoised) as record:
            maps = call(self, model.network, denoised, targets, create_graph)
        if record.logits is not None:  # they are those of the whole network at the images themselves
            note_logits(model, images, record.logits)
        return maps

    return explain


def score_of(attribution: object) -> ImageScore | None:
    """The score in [0, 1] whose gradient a method is, if the method offers it.

    Args:
        attribution: The method. A setting that is called ``score`` is not a method, so it does not count.

    Returns:
        From network, images ``[B, C, H, W]`` and targets ``[B]`` to scores ``[B]``; ``None`` if it offers none.

    Example:
        >>> from lit_certattr.attribution import RISE, ProbabilityGradient
        >>> score_of(ProbabilityGradient()) is None, score_of(RISE(score="softmax")) is None
        (False, True)
    """
    score = getattr(attribution, "score", None)
    return score if callable(score) else None


def input_gradient(
    model: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Gradient of each image's target logit with respect to that image alone.

    The logits go to the open record, if there is one (:func:`~lit_certattr.smoothing.note_logits`). Works under
    ``torch.no_grad`` and ``torch.inference_mode`` too, as in Lightning's validation loops.

    Args:
        model: Network to logits ``[B, num_classes]``; in eval mode, so that images do not influence each other.
        images: Images ``[B, C, H, W]``.
        targets: Class indices ``[B]``.
        create_graph: Keep the graph for a second derivative. Images that already require a gradient then stay
            connected to their own graph.

    Returns:
        ``(images, gradients)``: the images as they entered the graph, and their gradients, ``[B, C, H, W]``.

    Raises:
        InputError: If the network does not return logits. Targets are not checked: that would stop an accelerator.
    """
    with graph_mode(True), kernels(create_graph):
        images = ordinary(images)
        if not (create_graph and images.requires_grad):
            images = images.detach().requires_grad_(True)
        logits = as_logits(model(own_copy(model, images)))
        note_logits(model, images, logits)
        score = target_score(logits, targets)
        (gradient,) = torch.autograd.grad(score, images, create_graph=create_graph)
    return images, gradient


def own_copy(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """A copy of the images, for a network that may write to its input.

    A compiled network gets the images themselves, because it warns of inputs that are no leaves; so does a function.

    Args:
        model: Network or function that is called with the images.
        images: Images ``[B, C, H, W]``.
    """
    if not isinstance(model, nn.Module) or is_compiled(model):
        return images
    return images.clone()


def as_logits(output: Any) -> Tensor:
    """Check that the output of a network is logits ``[B, num_classes]``, and return it.

    Args:
        output: The output of a network.

    Raises:
        InputError: If it is anything else; the message says how to wrap the network.
    """
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    if isinstance(output, Tensor):
        raise InputError(
            f"the network must return logits [B, num_classes], got shape {tuple(output.shape)}{_flat(output)}"
        )
    if isinstance(output, Mapping) or hasattr(output, "logits"):
        names = list(output) if isinstance(output, Mapping) else ["logits"]
        keys, first = ", ".join(map(str, names)), "logits" if "logits" in names else next(iter(names), "logits")
        part = ".logits" if hasattr(output, "logits") else f"[{first!r}]"
        got, remedy = f"{type(output).__name__} ({keys})", f"network(images){part}"
    elif isinstance(output, list | tuple):
        got, remedy = f"{type(output).__name__} of {len(output)}", "network(images)[0]"
    else:
        raise InputError(
            f"the network must return logits [B, num_classes], got {type(output).__name__}: "
            "end its forward with return and a tensor of one row per image"
        )
    raise InputError(
        f"the network must return logits [B, num_classes], got {got}: "
        f"wrap it in a module whose forward returns the logits alone, for example {remedy}"
    )


def _flat(output: Tensor) -> str:
    """How to turn an output of other dimensions into logits."""
    if output.ndim < 2:
        return ": keep the dimension of the batch, without squeeze()"
    if output.shape[2:].numel() == 1:
        return ": wrap it in a module that returns network(images).flatten(1)"
    if output.ndim == 4:
        return ": pool over height and width, for example network(images).mean((2, 3))"
    return ": return one row of logits per image"


def target_score(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over the batch of the targets' logits; its gradient with respect to one image depends on that image alone.

    If the logits of an image are not all finite, its logit becomes NaN, and so does its gradient: there is no
    prediction to explain. The other images are not affected.

    Args:
        logits: ``[B, num_classes]``.
        targets: Class indices ``[B]``; they stay on the device.

    Example:
        >>> target_score(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0]))
        tensor(5.)
    """
    scores = logits.gather(1, ordinary(targets).view(-1, 1))  # gather saves them for its backward
    return (scores * finite_or_nan(logits)).sum()


def finite_or_nan(logits: Tensor) -> Tensor:
    """1 for each image whose logits are all finite, NaN for the others, ``[B, 1]``.

    Args:
        logits: ``[B, num_classes]``.

    Example:
        >>> finite_or_nan(torch.tensor([[1.0, 2.0], [0.0, torch.inf]])).tolist()
        [[1.0], [nan]]
    """
    valid = torch.isfinite(logits.detach()).all(1, keepdim=True)
    return torch.where(valid, 1.0, torch.nan).to(logits.dtype)


def kernels(create_graph: bool) -> AbstractContextManager[object]:
    """Context with attention in plain arithmetic if a graph is kept: fused kernels have no second derivative.

    Without a graph, the first convolution uses its fast implementation.

    Args:
        create_graph: Whether a graph is kept for a second derivative.
    """
    return sdpa_kernel(SDPBackend.MATH) if create_graph else ImageConvolutions()


@contextmanager
def graph_mode(create_graph: bool) -> Iterator[None]:
    """Inside the block: no inference mode, and gradients recorded or not, whatever the caller's mode.

    Args:
        create_graph: Whether gradients are recorded.
    """
    with torch.inference_mode(False), torch.set_grad_enabled(create_graph):
        yield


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy if it was created in inference mode: such a tensor cannot enter a graph.

    Args:
        tensor: Any tensor.
    """
    return tensor.clone() if tensor.is_inference() else tensor
