"""What a number of a map is: a settings object that gives each map one number, or NaN where there is none."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from lit_certattr.devices import values_are_free
from lit_certattr.errors import InputError
from lit_certattr.numbers.mask import Mask
from lit_certattr.settings import Settings
from lit_certattr.settings.frozen import Frozen
from lit_certattr.smoothing import MapBlock

Sign = Literal["positive", "absolute"]
"""How the energy of a signed map is counted: negative values as 0, or by their size."""


class Number(Settings, Frozen, ABC):
    """One number of an attribution map, about which a claim can be made.

    A number must be one fixed function of each map alone: no look at the other maps of the batch, no state.

    A constant map has no largest pixel and no energy, and one with NaN or infinity is no map: they give NaN, and
    certificates count them against every claim. A subclass implements :meth:`values` and :meth:`in_words`.
    """

    low: ClassVar[float | None] = 0.0
    """Smallest value; ``None`` for a number without a range."""
    high: ClassVar[float | None] = 1.0
    """Largest value; ``None`` for a number without a range."""
    needs_plane: ClassVar[bool] = True
    """Whether it depends on where a pixel lies, so that it means nothing for a map whose pixels are regions."""
    binary: ClassVar[bool] = False
    """Whether it takes the values 0 and 1 only."""

    def __call__(self, maps: Tensor) -> Tensor:
        """The number of each map.

        Args:
            maps: Maps ``[b, H, W]``.

        Returns:
            Floats ``[b]``; NaN where a map has no such number.
        """
        low, high = (extreme(maps.detach().flatten(1), 1) for extreme in (torch.amin, torch.amax))
        return self.of(maps, torch.isfinite(low) & torch.isfinite(high) & (high > low))  # NaN goes through both

    def of(self, maps: Tensor, has_number: Tensor) -> Tensor:
        """The number of each map, where it is known which maps have one.

        Args:
            maps: Maps ``[b, H, W]``.
            has_number: Whether a map is finite and not constant, bool ``[b]``.

        Returns:
            Floats ``[b]``; NaN where a map has no such number.
        """
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))  # sums of many pixels need more than 8 bits
        if values_are_free(maps) and bool(has_number.all()):  # an accelerator would wait for the answer
            return self.values(maps)
        return torch.where(has_number, self.values(torch.where(has_number[:, None, None], maps, 0)), torch.nan)

    def of_block(self, block: MapBlock) -> Tensor:
        """The number of each map of a block, whose other numbers may have computed what this one needs.

        Args:
            block: Noisy maps of one image.

        Returns:
            Floats ``[b]``; NaN where a map has no such number.
        """
        return self.of(block.maps, block.varies)

    @abstractmethod
    def values(self, maps: Tensor) -> Tensor:
        """The number of each map.

        Args:
            maps: Finite maps ``[b, H, W]``. What is given for constant ones is not used.

        Returns:
            Floats ``[b]``; NaN where a map has no such number.
        """

    @abstractmethod
    def in_words(self) -> str:
        """What the number is, as it stands in the middle of a sentence."""

    def soft(self, maps: Tensor) -> Tensor:
        """A differentiable stand-in that an attack may follow; the number itself by default.

        Args:
            maps: Maps ``[b, H, W]``.

        Returns:
            Floats ``[b]`` that fall where the number falls.
        """
        return self(maps)

    def has_gradient(self, map_shape: Sequence[int]) -> bool:
        """Whether :meth:`soft` has a gradient that an attack can follow, tried on random maps.

        Without one, as for numbers that count or round, an attack searches at random.

        Args:
            map_shape: Height and width of the maps.
        """
        maps = torch.randn((16, *map_shape), generator=torch.Generator().manual_seed(0)).requires_grad_()
        with torch.enable_grad():
            try:
                values = self.soft(maps)
                values = values[torch.isfinite(values)].sum()
                (gradient,) = torch.autograd.grad(values, maps)
            except RuntimeError:  # of torch: the function leaves the graph, e.g. by NumPy
                return False
        return bool(torch.isfinite(gradient).all() and gradient.any())

    def masks(self) -> list[Mask]:
        """The parts of the image that it is about, in the order in which it holds them; often none."""
        return list(self._named_masks().values())

    def with_masks(self, masks: Sequence[Mask]) -> Self:
        """The same number of other parts of the image.

        Args:
            masks: One for each of :meth:`masks`.
        """
        return self._changed(**dict(zip(self._named_masks(), masks, strict=True))) if masks else self

    def placed(self, image: Tensor, image_id: str) -> Self:
        """The number for one image, whose masks are found by its id; this number if no mask depends on the image.

        Args:
            image: The clean image ``[C, H, W]``.
            image_id: Id of the image.

        Raises:
            InputError: If the image has no such mask; the message names the image.
        """
        before = self.masks()
        now = [mask.placed(image, image_id) for mask in before]
        return self if all(one is two for one, two in zip(now, before, strict=True)) else self.with_masks(now)

    def _named_masks(self) -> dict[str, Mask]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Mask)}

    def check(self, map_shape: Sequence[int]) -> None:
        """Refuse settings that do not fit maps of a shape.

        Args:
            map_shape: Height and width of the maps.

        Raises:
            InputError: Saying what does not fit.
        """


def energy(maps: Tensor, sign: Sign) -> Tensor:
    """The values of maps without a sign.

    Args:
        maps: Maps of any shape.
        sign: ``"positive"`` counts negative values as 0, ``"absolute"`` counts every value by its size.

    Example:
        >>> energy(torch.tensor([2.0, -3.0]), "positive"), energy(torch.tensor([2.0, -3.0]), "absolute")
        (tensor([2., 0.]), tensor([2., 3.]))
    """
    return maps.clamp_min(0) if sign == "positive" else maps.abs()


def check_sign(sign: str) -> Sign:
    """The setting, if it is one of the two.

    Args:
        sign: What the user gave.

    Raises:
        InputError: If it is neither.
    """
    for known in get_args(Sign):
        if sign == known:
            return known  # type: ignore[no-any-return]
    raise InputError(f"sign must be positive or absolute, got {sign!r:.80}")


def sign_in_words(sign: Sign) -> str:
    """How signed values are counted, for a sentence.

    Args:
        sign: The setting.

    Example:
        >>> sign_in_words("positive")
        'the positive part of the map'
    """
    return "the positive part of the map" if sign == "positive" else "the absolute value of the map"


def share(part: Tensor, whole: Tensor) -> Tensor:
    """A part of a whole, in [0, 1] whatever the rounding; NaN where the whole is 0.

    Args:
        part: Any shape.
        whole: The same shape, at least ``part``.
    """
    return torch.where(whole > 0, (part / torch.where(whole > 0, whole, 1.0)).clamp(0, 1), torch.nan)
