"""Target layers: finding them, their features, and the rest of the network as a function of these.

For a method that works on a feature map, :func:`layer_pass` runs the network once and gives three things:

- ``features`` ``[B, C, h, w]``, for every layout in the network: tokens of a transformer come as the grid of
  their patches, and its class token stays out of reach;
- ``logits``, with the requested graph;
- ``head``, the rest of the network: logits of *other* features at that place, for any number of variants per
  image. At ``layer="final"`` of the known families it costs the head alone, elsewhere a whole forward pass.

:class:`LayerAttribution` holds the two settings that such methods share, and resizes their maps to the image;
:class:`ActivationMap` is the frame of the CAM family. ::

    with torch.no_grad():
        at = layer_pass(model, self.layer, images)
        without = at.head(at.features * kept)  # e.g. kept [B, C, 1, 1] of zeros and ones
    return self.resize(maps, images)
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_certattr.attribution.base import Attribution, ChannelReduction, as_logits, kernels, target_score
from lit_certattr.attribution.layouts import Layout, Undecided, channels_on_last_axis, grids_of, layout_of
from lit_certattr.attribution.places import Place, find_place, tapped
from lit_certattr.errors import InputError
from lit_certattr.models.denoised import Denoised
from lit_certattr.models.final_layer import FinalLayer
from lit_certattr.smoothing.logits import note_logits


class LayerAttribution(Attribution):
    """A method whose map belongs to one layer of the network.

    Args:
        layer: ``"input"`` for the pixels, ``"final"`` for the network's last feature map
            (:func:`~lit_certattr.models.final_layer.final_layer` of known families, otherwise
            :func:`~lit_certattr.attribution.last_map.last_map`), or the name of a module whose output it is;
            the end of the name is enough where it is unique, and ``network.`` may be left out.
        upsample: Resize the map to the image, bilinearly (half-pixel centres), before anything is ranked.
            ``False`` keeps the layer's resolution: 49 values and 49 tests instead of 50,176 for a ResNet,
            so a certificate needs fewer votes.
        channels: Channel reduction, see :class:`Attribution`.
    """

    def __init__(self, layer: str, upsample: bool, channels: ChannelReduction) -> None:
        super().__init__(channels)
        self.layer, self.upsample = layer, upsample

    @property
    def needs_layers(self) -> bool:  # type: ignore[override]
        """Whether the method explains another layer than the image."""
        return self.layer != "input"

    def resize(self, maps: Tensor, images: Tensor) -> Tensor:
        """Maps ``[B, h, w]`` at the size of the images ``[B, C, H, W]``, or as they are without ``upsample``."""
        size = images.shape[-2:]
        if not self.upsample or maps.shape[-2:] == size:
            return maps
        return F.interpolate(maps.unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)

    def refuse_affine_head(self, at: "LayerPass") -> None:
        """Refuse a layer whose gradient does not depend on the image.

        Raises:
            InputError: If what follows the layer is known to be affine, so that all images have one gradient.
        """
        if at.final is not None and at.final.affine:
            raise InputError(
                f"{type(self).__name__} at layer {self.layer!r} of {type(at.final.network).__name__} gives one map for "
                "all images, since only pooling and a linear layer follow: use InputXGradient or GradCAM there"
            )

    def refuse_cancelling_channels(self, model: nn.Module, images: Tensor) -> None:
        """Refuse a sum over channels that is zero by construction; for gradients, and features times gradients.

        Raises:
            InputError: If the channels are added with their signs, and the features are normalised behind the layer.
        """
        if self.layer != "final" or self.channels not in ("sum", "abs_sum"):
            return
        final = find_place(getattr(model, "_orig_mod", model), self.layer, images).final
        if final is not None and final.normalised:
            raise InputError(
                f"{type(self).__name__} at layer 'final' of {type(final.network).__name__} adds up to zero over the "
                "channels, since layer normalisation follows: use channels='sum_abs'"
            )


class ActivationMap(LayerAttribution):
    r"""A weighted sum of the channels of a feature map, :math:`\mathrm{ReLU}(\sum_k w_k A_k)`.

    A subclass implements ``__call__`` and says what the weights are.

    Args:
        layer: See :class:`LayerAttribution`.
        relu: Keep only evidence for the class. ``False`` gives the signed map.
        upsample: See :class:`LayerAttribution`.
    """

    def __init__(self, layer: str = "final", relu: bool = True, upsample: bool = True) -> None:
        super().__init__(layer, upsample, channels="sum")
        self.relu = relu

    def combine(self, weights: Tensor, features: Tensor, images: Tensor) -> Tensor:
        """The map ``[B, H, W]`` of features ``[B, C, h, w]`` under weights of that shape or ``[B, C, 1, 1]``."""
        maps = self.reduce(weights * features)
        return self.resize(maps.relu() if self.relu else maps, images)


@attrs.frozen(eq=False)
class LayerPass:
    """One forward pass, cut at a layer.

    Args:
        features: Features at the layer, ``[B, C, h, w]``.
        logits: The network's answer, ``[B, num_classes]``.
        head: From features ``[m * B, C, h, w]``, in the order of ``features.repeat(m, 1, 1, 1)``, to logits
            ``[m * B, num_classes]``. Runs under the gradient mode of its caller.
        final: Facts about the head, if the layer is the final one of a known family, by any name, and
            the model adds nothing after that network.
    """

    features: Tensor
    logits: Tensor
    head: Callable[[Tensor], Tensor]
    final: FinalLayer | None = None


def layer_pass(
    model: nn.Module, layer: str, images: Tensor, graph: Literal["none", "head", "full"] = "none"
) -> LayerPass:
    """Run the network once, and keep what passes through a layer.

    Nothing is left on the network, also after an error, and in-place activations cannot overwrite the features. The
    logits go to the open record, if there is one (:func:`~lit_certattr.smoothing.note_logits`).

    Args:
        model: Network from images in [0, 1] to logits; in eval mode.
        layer: ``"input"``, ``"final"`` or the name of a module, see :class:`LayerAttribution`.
        images: Images ``[B, C, H, W]``.
        graph: ``"head"`` runs the layers below without a graph and makes the features leaves that require a
            gradient, ``"full"`` keeps the graph down to weights and images, for training.

    Raises:
        InputError: If there is no such layer, it does not run exactly once, its output is no feature map, or the
            network does not return logits.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> at = layer_pass(net, "1", torch.rand(5, 3, 8, 8))
        >>> at.features.shape, bool(torch.allclose(at.head(at.features), at.logits))
        (torch.Size([5, 4, 6, 6]), True)
    """
    model = getattr(model, "_orig_mod", model)  # hooks need the network behind torch.compile
    # Tensors made under inference_mode cannot enter a graph.
    images = images.clone() if images.is_inference() else images
    at = _pass(model, layer, images, graph)
    note_logits(model, images, at.logits)
    return at


def _pass(model: nn.Module, layer: str, images: Tensor, graph: Literal["none", "head", "full"]) -> LayerPass:
    if layer == "input":
        if graph != "none" and not (graph == "full" and images.requires_grad):
            images = images.detach().requires_grad_(True)
        with torch.set_grad_enabled(graph != "none"):
            # The network gets a copy: one that works in place must not change what is kept, nor the caller's images.
            return LayerPass(images, as_logits(model(images.clone())), lambda features: as_logits(model(features)))
    place = find_place(model, layer, images)
    try:
        return _pass_at(place, model, images, graph)
    except Undecided:
        around = attrs.evolve(place.around, on_last_axis=channels_on_last_axis(model, images[:1]))
        return _pass_at(attrs.evolve(place, around=around), model, images, graph)


def _pass_at(place: Place, model: nn.Module, images: Tensor, graph: Literal["none", "head", "full"]) -> LayerPass:
    passed: list[tuple[Tensor, Layout]] = []
    answers: list[Any] = []
    height, width = images.shape[-2:]

    def keep(tensor: Any) -> Tensor:
        around = attrs.evolve(place.around, grids=tuple(grids))
        layout = layout_of(tensor, (height, width), len(images), around)
        features = layout.read(tensor)
        if graph == "head":
            features = features.detach()
            torch.set_grad_enabled(True)  # until the block below ends
        elif graph == "full":  # a node of its own: what others hook on the tensor is not of the layer
            features = features.view_as(features)
        if graph != "none" and not features.requires_grad:
            features.requires_grad_(True)
        passed.append((features, layout))
        # A copy goes on: an activation that works in place must not overwrite what is kept.
        return layout.restore(features.clone())

    with torch.set_grad_enabled(graph == "full"), ExitStack() as stack:
        grids = stack.enter_context(grids_of(model, len(images)))
        stack.enter_context(tapped(place, keep))
        if place.final is not None:
            hook = place.final.network.register_forward_hook(lambda _, __, output: answers.append(output))
            stack.callback(hook.remove)
        logits = as_logits(model(images.clone()))  # the caller's stay as they are, whatever the network does
    if len(passed) != 1:
        raise InputError(
            f"layer {place.around.label!r} runs {len(passed)} times in a forward pass of {type(model).__name__}: "
            "name one that runs once"
        )
    ((kept, layout),) = passed
    known = place.final if any(answer is logits for answer in answers) else None

    def head(features: Tensor) -> Tensor:
        if known is not None and known.head is not None:
            return as_logits(known.head(layout.restore(features)))
        enabled = torch.is_grad_enabled()

        def swap(_: Any) -> Tensor:
            torch.set_grad_enabled(enabled)
            return layout.restore(features.clone())

        with torch.set_grad_enabled(False), tapped(place, swap):
            return as_logits(model(images.repeat(len(features) // len(images), 1, 1, 1)))

    return LayerPass(kept, logits, head, known)


class LayerPasses:
    """:func:`layer_pass` for slices of a batch; the last one is kept, for methods that evaluate in tiles.

    The network runs on first use only: at ``"input"`` features and head are known without a pass.

    Args:
        model: See :func:`layer_pass`.
        layer: See :func:`layer_pass`.
        images: The whole batch ``[B, C, H, W]``.
        graph: See :func:`layer_pass`.
    """

    def __init__(
        self, model: nn.Module, layer: str, images: Tensor, graph: Literal["none", "head", "full"] = "none"
    ) -> None:
        self.model, self.layer, self.images, self.graph = model, layer, images, graph
        self._last: tuple[slice, LayerPass] | None = None

    @property
    def whole(self) -> LayerPass:
        """The pass of all images."""
        return self.of_rows(slice(0, len(self.images)))

    @property
    def features(self) -> Tensor:
        """Features of all images, ``[B, C, h, w]``."""
        return self.images if self.layer == "input" else self.whole.features

    def of_rows(self, rows: slice) -> LayerPass:
        """The pass of a slice of the images."""
        if self._last is None or self._last[0] != rows:
            self._last = rows, layer_pass(self.model, self.layer, self.images[rows], self.graph)
        return self._last[1]

    def head(self, rows: slice) -> Callable[[Tensor], Tensor]:
        """What makes logits of features of these images."""
        return self.model if self.layer == "input" else self.of_rows(rows).head


def layer_gradient(
    model: nn.Module, layer: str, images: Tensor, targets: Tensor, create_graph: bool = False
) -> tuple[LayerPass, Tensor]:
    """Gradient of each image's target logit with respect to its own features at a layer.

    Only the layers above it are differentiated, unless ``create_graph`` asks for the whole graph. Works under
    ``torch.no_grad`` and ``torch.inference_mode`` too; ``.grad`` is never touched.

    Args:
        model: Network to logits ``[B, num_classes]``; in eval mode, so that images do not influence each other.
        layer: ``"input"``, ``"final"`` or the name of a module, see :class:`LayerAttribution`.
        images: Images ``[B, C, H, W]``.
        targets: Class indices ``[B]``.
        create_graph: Keep the graph for a second derivative.

    Returns:
        The pass and the gradients ``[B, C, h, w]``, detached unless ``create_graph``.

    Raises:
        InputError: As :func:`layer_pass`, and if the logits do not depend on the layer through a graph.
    """
    with torch.inference_mode(False), torch.enable_grad(), kernels(create_graph):
        at = layer_pass(model, layer, images, "full" if create_graph else "head")
        score = target_score(at.logits, targets)
        gradient = None
        if score.requires_grad:
            (gradient,) = torch.autograd.grad(score, at.features, create_graph=create_graph, allow_unused=True)
    if gradient is None:
        remedy = (
            'its denoiser gives no gradient: use explain_at="denoised"'
            if isinstance(model, Denoised)
            else "look for detach(), torch.no_grad(), whole numbers or quantised layers in its forward, or use a "
            "method without gradients, e.g. RISE()"
        )
        raise InputError(
            f"the logits of {type(model).__name__} do not depend on layer {layer!r} through a graph; {remedy}"
        )
    if not create_graph:
        at = attrs.evolve(at, features=at.features.detach(), logits=at.logits.detach())
    return at, gradient
