"""How far the smoothed maps of different images of a run show the same pixels."""

import torch
from torch import Tensor

from lit_certattr.certificates.drawing import name_of
from lit_certattr.comparison.measures import NETWORK, Measure
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.class_overlap import overlap_of_counts, top_k_sets
from lit_certattr.metrics.naming import PREFIX, metric_name
from lit_certattr.smoothing import top_k_size


class SameClass:
    """Counts the top K of maps by class, one image at a time.

    See :func:`~lit_certattr.metrics.functional.class_overlap` for how to read the overlaps. Maps of several
    shapes or several K have no common pixels: nothing is then measured.
    """

    def __init__(self) -> None:
        self._votes: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}
        self._kind: tuple[tuple[int, ...], float] | None = None
        self._constant, self._mixed = 0, False

    def add(self, shown: Tensor, target: int, top_k: float) -> None:
        """Count one map.

        Args:
            shown: The map ``[H, W]``.
            target: Its class.
            top_k: K of the certificate, a share or a number of pixels.
        """
        kind = (tuple(shown.shape), top_k)
        self._kind = self._kind or kind
        if kind != self._kind:
            self._mixed = True
        if self._mixed:
            return
        try:
            _, masks, constant = top_k_sets(shown[None].float(), torch.tensor([target]), top_k)
        except InputError:  # a map that is not finite, of a file that somebody altered
            self._mixed = True
            return
        self._constant += int(constant)
        for mask in masks:
            self._votes[target] = self._votes.get(target, torch.zeros(mask.numel(), dtype=torch.int32)) + mask.int()
            self._counts[target] = self._counts.get(target, 0) + 1

    def numbers(self) -> dict[Measure, tuple[float, float]]:
        """Overlaps of pairs of the same class and of other classes, as far as there are such pairs, beside chance."""
        if self._kind is None or self._mixed or not self._counts:
            return {}
        shape, top_k = self._kind
        found = overlap_of_counts(
            torch.stack(list(self._votes.values())),
            torch.tensor(list(self._counts.values())),
            torch.tensor(self._constant),
            top_k_size(top_k, shape[0] * shape[1]),
        )
        words = f"class overlap, K = {name_of(top_k)}"
        overlaps = {"same": found.same, "different": found.different}
        return {
            Measure(
                f"{PREFIX}{metric_name(f'{which}_class_overlap', top_k=top_k)}",
                f"{which}-{words}",
                NETWORK,
                form="share",
                better=-1,
            ): (float(overlap), float(found.chance))
            for which, overlap in overlaps.items()
            if bool(overlap.isfinite())
        }
