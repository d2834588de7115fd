"""Checks during the sampling of an image: network and method must remain the same function."""

import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution
from lit_certattr.errors import InputError
from lit_certattr.preflight.agreement import (
    difference,
    maps_agree_within,
    relative_distance,
    repeats_within,
    unit_of_rounding,
)
from lit_certattr.preflight.function import explain, mixes
from lit_certattr.smoothing import Draw


class Watch:
    """Checks while one image is sampled, for faults that a few passes before the sampling cannot show.

    A network may mix the images of a batch above some batch size, and it may drift: a counter or a buffer may change
    with each call. So one sample of the first block, and of larger ones, is evaluated alone, and the image itself at
    the end. This does not affect the samples.

    Args:
        model: The network, in eval mode, with frozen parameters.
        attribution: The method.
        image: Image ``[1, C, H, W]``.
        clean_map: Its map before the sampling, ``[1, H, W]``.
        target: Class that is explained.
        name: Name of the image in messages.
    """

    def __init__(
        self, model: nn.Module, attribution: Attribution, image: Tensor, clean_map: Tensor, target: int, name: str
    ) -> None:
        self.model, self.attribution, self.image, self.clean_map = model, attribution, image, clean_map
        self.target = torch.tensor([target], device=image.device)
        self.name = name
        self._largest = 1

    def look_at(self, draw: Draw) -> None:
        """Compare one noisy image of a block with the same image alone, if the block is larger than all before.

        Args:
            draw: The noisy images, after the certificates have evaluated them.

        Raises:
            InputError: If its map, its score or its logits depend on the other images of the block.
        """
        if len(draw) <= self._largest:
            return
        self._largest = len(draw)
        # Neither first nor in the middle: a network that turns the batch around would leave those where they are.
        first, second = len(draw) // 3, 2 * len(draw) // 3
        if self._mixed(draw, first) and (complaint := self._mixed(draw, second)):  # one alone may be at a kink
            raise InputError(f"{complaint}; seen in a batch of {len(draw)}")

    def _mixed(self, draw: Draw, place: int) -> str | None:
        """What is to be said about a noisy image whose result is another one alone, if it is."""
        alone = draw.alone(place)
        for kind in draw.evaluated:
            beside, single = getattr(draw, kind)[place : place + 1], getattr(alone, kind)
            if not bool(torch.isfinite(beside).all() & torch.isfinite(single).all()):
                continue  # an invalid sample, which never votes
            what = type(self.attribution).__name__
            if kind == "maps":
                moved, allowed = relative_distance(single, beside), maps_agree_within(self.model, self.image, single)
            elif kind == "logits":
                what = type(self.model).__name__
                moved = difference(single, beside)
                allowed = unit_of_rounding(self.model, self.image, single) ** 0.5
            else:
                moved = float((single - beside).abs().amax())
                allowed = unit_of_rounding(self.model, self.image, self.image) ** 0.5
            if moved > allowed:
                return mixes(what, kind if kind == "logits" else kind.removesuffix("s"), moved, self.model)
        return None

    def check_unchanged(self) -> None:
        """Explain the image again, after the last sample.

        Raises:
            InputError: If its map differs from the one before the first sample.
        """
        again = explain(self.attribution, self.model, self.image, self.target, self.name)
        changed = difference(self.clean_map, again) if again.shape == self.clean_map.shape else torch.inf
        if changed > repeats_within(self.model, self.image, again):
            raise InputError(
                f"{type(self.model).__name__} and {type(self.attribution).__name__} explain {self.name} otherwise "
                f"after its samples than before them (difference {changed:.1g}), so no fixed function was certified; "
                "in eval mode, forward must keep no state between calls: no counter, no running buffer, no cache"
            )
