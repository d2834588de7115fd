"""RISE: the mean of random masks, each weighted by the score of the pixels that it leaves visible."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import Attribution, ChannelReduction, graph_mode
from lit_certattr.attribution.batching import check_max_batch
from lit_certattr.attribution.fixed import Fixed, uniforms
from lit_certattr.attribution.scores import ScoreKind, check_fill, check_score, perturbed_scores
from lit_certattr.errors import InputError


class RISE(Attribution):
    r"""Randomised input sampling (Petsiuk, Das, Saenko, 2018).

    .. math:: a = \frac{1}{N p} \sum_{s=1}^{N} f_c\left(m_s \odot x + (1 - m_s)\, fill\right) m_s

    A mask :math:`m_s` is a grid of cells that are visible with probability ``keep``, enlarged bilinearly and shifted
    at random by less than a cell. The masks come from ``seed`` and the size of the image alone: they are the same
    for every image and every noisy copy, so the map is one fixed function, as certificates need. Only the grids are
    kept; masks are made when they are used, so memory does not grow with ``num_masks``.

    Where the scores of an image differ by no more than rounding (four units in the last place of its largest logit, see
    :func:`~lit_certattr.attribution.scores.rounding`) the sum would be a map of the masks: the map is then constant, at
    the mean score, which is what it tends to as :math:`N` grows.

    Model evaluations per image: ``num_masks``.

    Args:
        num_masks: Number of masks :math:`N`.
        cells: Cells of the grid in each direction.
        keep: Probability :math:`p` that a cell is visible. 0.5 as published; Anani et al. (2025) use 0.1 with 6 cells.
        fill: Grey level in [0, 1] of hidden pixels, in pixel space.
        score: ``"softmax"`` as published, or ``"logit"``.
        seed: Seed of the masks.
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.
        channels: A mask covers all channels, so there is one score per pixel; probabilities make it non-negative.
            ``"sum"`` keeps the sign of logits, the others take the absolute value.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        >>> RISE(num_masks=50, cells=3)(net, torch.rand(2, 1, 8, 8), torch.tensor([0, 1])).shape
        torch.Size([2, 8, 8])
    """

    def __init__(
        self,
        num_masks: int = 1000,
        cells: int = 7,
        keep: float = 0.5,
        fill: float = 0.0,
        score: ScoreKind = "softmax",
        seed: int = 0,
        max_batch: int | None = None,
        channels: ChannelReduction = "sum",
    ) -> None:
        super().__init__(channels)
        if num_masks < 1 or cells < 1 or not 0 < keep < 1:
            raise InputError(
                "num_masks and cells must be at least 1 and keep must lie in (0, 1), "
                f"got num_masks={num_masks}, cells={cells}, keep={keep}"
            )
        check_fill(fill)
        check_score(score)
        check_max_batch(max_batch)
        self.num_masks, self.cells, self.keep, self.fill = num_masks, cells, keep, fill
        self.score, self.seed, self.max_batch = score, seed, max_batch
        self._grids = Fixed()

    def masks(
        self,
        height: int,
        width: int,
        samples: slice = slice(None),
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Masks in [0, 1], ``[samples, height, width]``; over all grids their mean is ``keep`` at every pixel.

        Args:
            height: Height of the images.
            width: Width of the images.
            samples: Which of the ``num_masks``.
            dtype: Type of the masks.
            device: Where they are made.
        """

        def make() -> tuple[Tensor, Tensor, Tensor]:
            drawn = uniforms(self.seed, self.num_masks, self.cells**2 + 2)
            grids = (drawn[:, 2:] < self.keep).view(-1, self.cells, self.cells)
            starts = [(drawn[:, i] * -(-length // self.cells)).floor() for i, length in enumerate((height, width))]
            return grids.to(device, dtype), starts[0].to(device, dtype), starts[1].to(device, dtype)

        grids, down, across = self._grids.get_or_make((height, width, dtype, torch.device(device)), make)
        rows = _enlargement(height, self.cells, down[samples])
        columns = _enlargement(width, self.cells, across[samples])
        masks: Tensor = rows @ grids[samples] @ columns.mT
        return masks

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        height, width = images.shape[-2:]
        dtype = torch.promote_types(images.dtype, torch.float32)

        def cover(chosen: slice, samples: slice) -> Tensor:
            masks = self.masks(height, width, samples, dtype, images.device).to(images.dtype)[:, None, None]
            return (images[chosen] - self.fill) * masks + self.fill

        with graph_mode(create_graph):
            scores = perturbed_scores(
                model,
                images,
                targets,
                cover,
                self.num_masks,
                score=self.score,
                max_batch=self.max_batch,
                create_graph=create_graph,
            )
            # The masks are made again, in groups, rather than kept: that is little beside an evaluation.
            total = torch.zeros(len(images), height, width, dtype=dtype, device=images.device)
            for first in range(0, self.num_masks, 64):
                group = slice(first, first + 64)
                masks = self.masks(height, width, group, dtype, images.device)
                total = total + torch.einsum("sb,shw->bhw", scores.values[group], masks)
            maps = self.reduce((total / (self.num_masks * self.keep))[:, None])
            return scores.map_or_constant(maps, self.reduce(scores.values.mean(0)[:, None]))


def _enlargement(length: int, cells: int, starts: Tensor) -> Tensor:
    r"""Bilinear weights ``[N, length, cells]``: a grid enlarged to ``cells + 1`` cells of pixels, then cut.

    Pixel :math:`i` of the enlarged grid lies at :math:`(i + 1/2)\, cells / enlarged - 1/2` of the small one; beyond
    the centres of the outer cells it gets the outer cell, as in every bilinear resize without aligned corners.
    """
    enlarged = (cells + 1) * -(-length // cells)
    pixels = torch.arange(length, device=starts.device, dtype=starts.dtype) + starts[:, None]
    position = ((pixels + 0.5) * (cells / enlarged) - 0.5).clamp(0, cells - 1)
    centres = torch.arange(cells, device=starts.device, dtype=starts.dtype)
    return (1 - (position[:, :, None] - centres).abs()).clamp(min=0)
