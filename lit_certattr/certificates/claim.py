"""What is claimed: a number of the map, a name, and perhaps the values that it must stay between."""

import math
from collections.abc import Sequence
from typing import Self

from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.numbers import Number
from lit_certattr.settings import Settings, instance, is_line, real_number, several
from lit_certattr.settings.frozen import Frozen

_MOST_WEIGHT = 1e300  # weights are added
_LEAST_SHARE = 1e-6
"""Smallest share of alpha that a claim may have."""


class Claim(Settings, Frozen):
    """A claim about a number of the map, fixed before anything is sampled.

    Args:
        name: What tables, figures and metrics call it.
        number: The number.
        at_least: The claim holds where the number is certified to be at least this; ``None`` for no such bound.
        at_most: The claim holds where the number is certified to be at most this; ``None`` for no such bound.
        weight: Its share of alpha, relative to the weights of the other claims.

    Raises:
        InputError: If the name is empty, the bounds are no numbers or exclude each other, or the weight is not
            positive.

    Example:
        >>> from lit_certattr.numbers import Gini
        >>> Claim("concentrated", Gini(), at_least=0.5).has_bounds
        True
    """

    def __init__(
        self,
        name: str,
        number: Number,
        at_least: float | None = None,
        at_most: float | None = None,
        weight: float = 1.0,
    ) -> None:
        if not is_line(name):
            raise InputError(f"a claim needs a name of one line, got {name!r:.80}")
        instance(f"number of claim {name!r}", number, Number, "Gini()")
        if not 0 < real_number("weight", weight) <= _MOST_WEIGHT:
            raise InputError(
                f"claim {name!r}: weight must be a positive number of at most {_MOST_WEIGHT:g}, got {weight}"
            )
        for side, bound in (("at_least", at_least), ("at_most", at_most)):
            if bound is not None and not math.isfinite(real_number(side, bound)):
                raise InputError(
                    f"claim {name!r}: {side} must be a finite number, got {bound}; leave it out for no bound"
                )
        self.name, self.number, self.at_least, self.at_most, self.weight = name, number, at_least, at_most, weight
        if not self.low <= self.high:
            raise InputError(f"claim {name!r}: at_least must not be above at_most, got {at_least} and {at_most}")

    def placed(self, image: Tensor, image_id: str) -> Self:
        """The claim for one image, whose masks are found by its id; this claim if no mask depends on the image.

        Args:
            image: The clean image ``[C, H, W]``.
            image_id: Id of the image.

        Raises:
            InputError: If the image has no such mask; the message names claim and image.
        """
        try:
            number = self.number.placed(image, image_id)
        except InputError as error:
            raise InputError(f"claim {self.name!r}: {error}") from None
        return self if number is self.number else self._changed(number=number)

    def with_masks(self, masks: Sequence[Tensor]) -> Self:
        """The claim for an image whose masks are known.

        Args:
            masks: The pixels inside of each mask of the number, bool ``[H, W]``.

        Raises:
            InputError: If the number has more or fewer masks.
        """
        own = self.number.masks()
        if len(masks) != len(own):
            raise InputError(f"claim {self.name!r}: {len(masks)} masks given for a number with {len(own)}")
        fixed = [mask.fixed_to(pixels, "the mask") for mask, pixels in zip(own, masks, strict=True)]
        return self._changed(number=self.number.with_masks(fixed))

    @property
    def low(self) -> float:
        """The bound from below; minus infinity for none."""
        return -math.inf if self.at_least is None else real_number("at_least", self.at_least)

    @property
    def high(self) -> float:
        """The bound from above; infinity for none."""
        return math.inf if self.at_most is None else real_number("at_most", self.at_most)

    @property
    def has_bounds(self) -> bool:
        """Whether it can hold or be refuted; a claim without bounds has a curve only."""
        return self.at_least is not None or self.at_most is not None


def check_claims(claims: Sequence[Claim]) -> list[Claim]:
    """The claims as a list.

    Args:
        claims: What the user gave.

    Raises:
        InputError: If there are none, or two of one name, or one has next to no share of alpha.
    """
    example = 'Claim("concentrated", Gini(), at_least=0.5)'
    listed = list(several("claims", claims, f"[{example}]"))
    for claim in listed:
        instance("a claim", claim, Claim, example)
    names = [claim.name for claim in listed]
    if not names or len(set(names)) < len(names):
        raise InputError(f"claims must be at least one, each with a name of its own, got {names}")
    share, claim = min(zip(shares_of(listed), listed, strict=True), key=lambda one: one[0])
    if share < _LEAST_SHARE:
        raise InputError(
            f"claim {claim.name!r}: weight {claim.weight:g} is a share of {share:.1e} of alpha, with which nothing "
            f"can be shown: give it at least {_LEAST_SHARE:g} of the sum of the weights"
        )
    return listed


def shares_of(claims: Sequence[Claim]) -> tuple[float, ...]:
    """The share of alpha of each claim; they add up to no more than 1.

    Args:
        claims: The claims.

    Example:
        >>> from lit_certattr.numbers import Gini
        >>> shares_of([Claim("a", Gini()), Claim("b", Gini(), weight=3)])
        (0.25, 0.75)
    """
    total = math.fsum(claim.weight for claim in claims)
    shares = [claim.weight / total for claim in claims]
    excess = max(1.0, math.fsum(shares))  # of rounding
    return tuple(share / excess for share in shares)


def check_plane(claims: Sequence[Claim]) -> None:
    """Refuse claims about places in the image, where the pixels of a map are regions.

    Args:
        claims: The claims.

    Raises:
        InputError: Naming the first such claim.
    """
    for claim in claims:
        if claim.number.needs_plane:
            raise InputError(
                f"claim {claim.name!r}: {claim.number!r} is about places in the image, but each pixel of these maps is "
                "a region; certify the method without regions, or use a number such as Gini"
            )
