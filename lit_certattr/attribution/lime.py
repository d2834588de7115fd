"""LIME on images: a linear model of the score over superpixels."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import Attribution, ChannelReduction, graph_mode, ordinary
from lit_certattr.attribution.batching import check_max_batch
from lit_certattr.attribution.fixed import Fixed, uniforms
from lit_certattr.attribution.scores import ScoreKind, check_fill, check_score, perturbed_scores
from lit_certattr.errors import InputError


class LIME(Attribution):
    r"""Local linear surrogate over superpixels (Ribeiro, Singh, Guestrin, 2016).

    Superpixels are hidden at random, :math:`z_s \in \{0, 1\}^d`, and the scores are fitted by weighted ridge
    regression with an intercept; every pixel gets the coefficient of its superpixel:

    .. math:: \min_{\beta, b} \sum_s w_s \left(f_c(x_{z_s}) - b - z_s^\top \beta\right)^2 + \alpha \|\beta\|^2,
        \qquad w_s = e^{-D_s^2 / 2 w^2}, \quad D_s = 1 - \sqrt{\textstyle\sum_k z_{sk} / d}

    (:math:`D` is the cosine distance from the whole image, :math:`w` the kernel width.) The :math:`z_s` are drawn
    once from ``seed`` and do not depend on the image, so the fit is one fixed matrix times the scores, the same for
    all images, and the map is one fixed function, as certificates need.

    It differs from the package ``lime``: superpixels are a regular grid or one that you give, not a segmentation of
    each image (which noise would change); the same :math:`z_s` serve all images; no feature selection. Its
    variant for tables, which draws from the training data and explains bins of feature values, is another method.
    Pixels of a superpixel tie, so choose top-K sets that are made of whole superpixels. Where the scores of an image
    differ by no more than rounding (four units in the last place of its largest logit, see
    :func:`~lit_certattr.attribution.scores.rounding`) all coefficients are exactly 0.

    Model evaluations per image: ``num_samples``.

    Args:
        segments: Superpixels in each direction of a regular grid.
        segmentation: Superpixels of your own in place of the grid: rows of labels 0, 1, ..., one per pixel, the same
            for all images, which must be of that size.
        num_samples: Number of perturbed images; the first is the image itself.
        kernel_width: Width :math:`w` of the kernel, in cosine distance.
        ridge: Penalty :math:`\alpha`.
        fill: Grey level in [0, 1] of hidden superpixels, in pixel space; ``None`` paints each in its own mean colour.
        score: ``"softmax"`` as published, or ``"logit"``.
        seed: Seed of the perturbations.
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.
        channels: A superpixel has all channels, so there is one signed coefficient per pixel: ``"sum"`` keeps its sign,
            the others take the absolute value.

    Raises:
        InputError: If a number is out of range, or the segmentation has no labels 0, 1, ....

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> maps = LIME(segments=2, num_samples=20)(net, torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 1]))
        >>> maps.shape, len(maps[0].unique())
        (torch.Size([3, 4, 4]), 4)
    """

    unrecorded = frozenset({"segmentation"})  # a record has its digest

    def __init__(
        self,
        segments: int = 7,
        num_samples: int = 1000,
        kernel_width: float = 0.25,
        ridge: float = 1.0,
        fill: float | None = None,
        score: ScoreKind = "softmax",
        seed: int = 0,
        max_batch: int | None = None,
        channels: ChannelReduction = "sum",
        segmentation: list[list[int]] | None = None,
    ) -> None:
        super().__init__(channels)
        if num_samples < 2 or not kernel_width > 0 or not ridge > 0:
            raise InputError(
                "num_samples must be at least 2, kernel_width and ridge must be positive, "
                f"got num_samples={num_samples}, kernel_width={kernel_width}, ridge={ridge}"
            )
        if fill is not None:
            check_fill(fill)
        check_score(score)
        check_max_batch(max_batch)
        if segments < 1:
            raise InputError(f"segments must be at least 1 in each direction, got {segments}")
        self.segments = segments
        self._labels = None if segmentation is None else _labels(segmentation)
        self.segmentation = None if self._labels is None else _describe(self._labels)
        self.num_samples, self.kernel_width, self.ridge, self.fill = num_samples, kernel_width, ridge, fill
        self.score, self.seed, self.max_batch = score, seed, max_batch
        self._kept = Fixed()

    @override
    def init_args(self) -> dict[str, Any]:
        """The arguments, with the labels of the superpixels as ``segmentation``: the attribute only describes them."""
        return super().init_args() | {"segmentation": None if self._labels is None else self._labels.tolist()}

    def superpixels(self, height: int, width: int) -> Tensor:
        """Label of the superpixel of each pixel, int64 ``[height, width]``.

        Raises:
            InputError: If a segmentation was given for another size, or there are more superpixels than pixels.
        """
        if self._labels is not None:
            if self._labels.shape != (height, width):
                raise InputError(
                    f"the segmentation is for images of {tuple(self._labels.shape)}, got images of {(height, width)}"
                )
            return self._labels
        number = self.segments
        if number > min(height, width):
            raise InputError(f"images of {height} x {width} have no {number} x {number} superpixels")
        row, column = (torch.arange(length) * number // length for length in (height, width))
        return row[:, None] * number + column

    def perturbations(self, num_segments: int) -> Tensor:
        """Which superpixels each perturbed image shows, boolean ``[num_samples, num_segments]``; all in the first."""
        shown = uniforms(self.seed, self.num_samples, num_segments) < 0.5
        shown[0] = True
        return shown

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Maps ``[B, H, W]``: every pixel gets the coefficient of its superpixel.

        Raises:
            InputError: If the segmentation does not fit the images.
        """
        height, width = images.shape[-2:]
        dtype = torch.promote_types(images.dtype, torch.float32)

        def make() -> tuple[Tensor, Tensor, Tensor]:
            labels = self.superpixels(height, width)
            shown = self.perturbations(int(labels.max()) + 1)
            fit = _ridge_operator(shown, self.kernel_width, self.ridge)
            return labels.to(images.device), shown.to(images.device), fit.to(images.device, dtype)

        labels, shown, fit = self._kept.get_or_make((height, width, dtype, images.device), make)

        with graph_mode(create_graph):
            images = ordinary(images)
            hidden = self._hidden(images, labels, shown.shape[1])

            def hide(chosen: slice, samples: slice) -> Tensor:
                masks = shown[samples][:, labels][:, None, None]
                return torch.where(masks, images[chosen], hidden[chosen])

            scores = perturbed_scores(
                model,
                images,
                targets,
                hide,
                self.num_samples,
                score=self.score,
                max_batch=self.max_batch,
                create_graph=create_graph,
            )
            coefficients = scores.values.T @ fit.T
            return scores.map_or_constant(self.reduce(coefficients[:, labels][:, None]))

    def _hidden(self, images: Tensor, labels: Tensor, num_segments: int) -> Tensor:
        """Images with every superpixel hidden."""
        if self.fill is not None:
            return torch.full_like(images, self.fill)
        # Not one_hot, which asks the device for the largest label.
        member = (labels.flatten()[:, None] == torch.arange(num_segments, device=labels.device)).to(images.dtype)
        means = images.flatten(2) @ (member / member.sum(0))
        return means[:, :, labels]


def _labels(segmentation: list[list[int]]) -> Tensor:
    try:
        labels = torch.as_tensor(segmentation)
    except (ValueError, TypeError) as error:
        raise InputError("segmentation must be rows of labels, all of one length") from error
    if labels.ndim != 2 or not labels.numel() or labels.dtype not in (torch.int64, torch.int32, torch.uint8):
        raise InputError(f"segmentation must be whole numbers [H, W], got {labels.dtype} {tuple(labels.shape)}")
    found = labels.unique().tolist()
    if found != list(range(len(found))):
        raise InputError(f"segmentation must have the labels 0, 1, ..., got {found[0]} to {found[-1]} with gaps")
    return labels.long().cpu()


def _describe(labels: Tensor) -> str:
    """What a certificate records of a segmentation."""
    digest = hashlib.sha256(labels.contiguous().numpy().tobytes()).hexdigest()
    height, width = labels.shape
    return f"{int(labels.max()) + 1} of {height} x {width} pixels, sha256 {digest[:16]}"


def _ridge_operator(shown: Tensor, kernel_width: float, ridge: float) -> Tensor:
    r"""The matrix that turns scores into coefficients, float64 ``[d, S]``.

    With :math:`\tilde Z` the perturbations minus their weighted mean, the intercept drops out and
    :math:`\beta = (\tilde Z^\top W \tilde Z + \alpha I)^{-1} \tilde Z^\top W y`.
    """
    z = shown.double()
    distance = 1 - z.mean(1).sqrt()
    weights = torch.exp(-(distance**2) / (2 * kernel_width**2))[:, None]
    centred = z - (weights * z).sum(0) / weights.sum()
    weighted = (weights * centred).T
    penalty = ridge * torch.eye(z.shape[1], dtype=torch.float64)
    operator: Tensor = torch.linalg.solve(weighted @ centred + penalty, weighted)
    return operator
