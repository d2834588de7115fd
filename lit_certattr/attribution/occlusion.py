"""Occlusion: the drop of the score when a window is hidden."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import ChannelReduction, graph_mode, ordinary
from lit_certattr.attribution.batching import check_max_batch
from lit_certattr.attribution.layers import LayerAttribution, LayerPasses
from lit_certattr.attribution.scores import ScoreKind, check_fill, check_score, class_scores, perturbed_scores
from lit_certattr.errors import InputError


class Occlusion(LayerAttribution):
    r"""Drop of the target score when a window of the image is hidden (Zeiler, Fergus, 2014, section 4.2).

    The window moves in steps of ``stride``; the last position of each direction may reach over the border, so every
    pixel is hidden at least once. A pixel gets the mean drop of the windows :math:`W` that hide it:

    .. math:: a_i = \frac{1}{|\{W \ni i\}|} \sum_{W \ni i} \left(f_c(x) - f_c(x_{W \to fill})\right)

    Where the scores of all windows differ by no more than rounding (four units in the last place of the largest logit,
    see :func:`~lit_certattr.attribution.scores.rounding`) the map is constant.

    At another layer, windows of its features are hidden in all channels; Anani et al. (2025) take ``window=5``,
    ``stride=2`` and ``fill=0`` at the final layer of a ResNet.

    Model evaluations per image: one, and one per window; 730 with the defaults at 224 x 224. At ``"final"`` of the
    known families a window costs the head alone.

    Args:
        window: Height and width of the window in pixels, or one number for both.
        stride: Step of the window in pixels, at most its size.
        fill: Grey level in [0, 1] of hidden pixels, in pixel space: 0 is black. Zero *after* an ImageNet
            normalisation, as in other implementations, is the mean colour, about 0.45. At another layer, the value of
            hidden features.
        score: ``"logit"`` or ``"softmax"``.
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.
        channels: A window hides all channels, so there is one signed score per pixel: ``"sum"`` keeps its sign, the
            others take the absolute value, as Anani et al. (2025) rank it.
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> Occlusion(window=2, stride=1)(net, torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 1])).shape
        torch.Size([3, 4, 4])
    """

    def __init__(
        self,
        window: int | tuple[int, int] = 16,
        stride: int | tuple[int, int] = 8,
        fill: float = 0.5,
        score: ScoreKind = "logit",
        max_batch: int | None = None,
        channels: ChannelReduction = "abs_sum",
        layer: str = "input",
        upsample: bool = True,
    ) -> None:
        super().__init__(layer, upsample, channels)
        self.window, self.stride = _pair(window), _pair(stride)
        if any(not 1 <= step <= size for step, size in zip(self.stride, self.window, strict=True)):
            raise InputError(
                f"stride must be at least 1 and at most the window, so that no pixel is left out; "
                f"got window={self.window}, stride={self.stride}"
            )
        if layer == "input":
            check_fill(fill)
        check_score(score)
        check_max_batch(max_batch)
        self.fill, self.score, self.max_batch = fill, score, max_batch

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Occlusion maps ``[B, H, W]``.

        Raises:
            InputError: If the window is larger than the image, or than the feature map of the layer.
        """
        with graph_mode(create_graph):
            images, targets = ordinary(images), ordinary(targets)
            passes = LayerPasses(model, self.layer, images, "full" if create_graph else "none")
            whole = class_scores(passes.whole.logits, targets, self.score)
            features = passes.features
            height, width = features.shape[-2:]
            if self.window[0] > height or self.window[1] > width:
                raise InputError(
                    f"an occlusion window of {self.window} does not fit into the {height} x {width} of "
                    f"layer {self.layer!r}"
                )
            rows = _windows(height, self.window[0], self.stride[0], images.device)
            columns = _windows(width, self.window[1], self.stride[1], images.device)

            def hide(chosen: slice, samples: slice) -> Tensor:
                places = torch.arange(samples.start, samples.stop, device=images.device)
                down, across = rows[places // len(columns)], columns[places % len(columns)]
                window = down[:, :, None] & across[:, None, :]
                return torch.where(window[:, None, None], self.fill, features[chosen])

            scores = perturbed_scores(
                model,
                images,
                targets,
                hide,
                len(rows) * len(columns),
                score=self.score,
                max_batch=self.max_batch,
                create_graph=create_graph,
                head=passes.head,
            )
            drops = (whole - scores.values).T.view(len(images), len(rows), len(columns))
            # The sum over the windows that hide a pixel factorises into rows and columns.
            down, across = rows.to(drops.dtype), columns.to(drops.dtype)
            total = down.T @ drops @ across
            maps = self.reduce((total / torch.outer(down.sum(0), across.sum(0)))[:, None])
            maps = scores.map_or_constant(maps, self.reduce((whole - scores.values.mean(0))[:, None]))
            return self.resize(maps, images)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _windows(length: int, size: int, step: int, device: torch.device) -> Tensor:
    """Pixels of one direction that each position hides, boolean ``[positions, length]``."""
    starts = torch.arange(-(-(length - size) // step) + 1, device=device) * step
    pixels = torch.arange(length, device=device)
    return (pixels >= starts[:, None]) & (pixels < starts[:, None] + size)
