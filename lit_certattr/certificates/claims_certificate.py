"""What the certificates of claims have in common: what is claimed, and what follows from it."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.base import Certificate, check_float64
from lit_certattr.certificates.claim import Claim, check_plane, shares_of
from lit_certattr.certificates.claims_result import ClaimsResult, masks_identity
from lit_certattr.certificates.measures import ClaimMeasure, Measure, NumberMeasure
from lit_certattr.errors import InputError
from lit_certattr.numbers import Mask
from lit_certattr.smoothing import Noise


class ClaimsCertificate(Certificate):
    """Base of the certificates of named claims; a subclass sets ``_claims`` and says what is claimed of the numbers."""

    _claims: Sequence[Claim]

    @override
    def measures(self) -> Sequence[Measure]:
        names = claim_words([claim.name for claim in self._claims])
        return [
            ClaimMeasure(name, index) if claim.has_bounds else NumberMeasure(name, _LowerEnd(index))
            for index, (name, claim) in enumerate(zip(names, self._claims, strict=True))
        ]

    @override
    def conditions(self) -> dict[str, Any]:
        return {"claims": [claim.settings() for claim in self._claims]}

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        return super().fixed(noise, map_shape, dimension, num_samples, share) | {
            "names": tuple(claim.name for claim in self._claims),
            "words": tuple(claim.number.in_words() for claim in self._claims),
            "at_least": tuple(claim.low for claim in self._claims),
            "at_most": tuple(claim.high for claim in self._claims),
            "shares": shares_of(self._claims),
            "mask_of": tuple(index for index, _ in self._masks()),
        }

    @override
    def placed(self, image: Tensor, image_id: str) -> Self:
        placed = [claim.placed(image, image_id) for claim in self._claims]
        same = all(one is two for one, two in zip(placed, self._claims, strict=True))
        return self if same else self._changed(_claims=placed)

    def masks(self, map_shape: Sequence[int]) -> Tensor | None:
        """The masks of the claims, bool ``[masks, H, W]``; ``None`` if no claim has one.

        Args:
            map_shape: Height and width of the maps.

        Raises:
            InputError: If a mask holds no pixel, or depends on the image and the certificate is not placed.
        """
        masks = [mask.mask(map_shape) for _, mask in self._masks()]
        return torch.stack(masks) if masks else None

    def _masks(self) -> list[tuple[int, Mask]]:
        """Each mask with the index of its claim."""
        return [(index, mask) for index, claim in enumerate(self._claims) for mask in claim.number.masks()]

    @override
    def places(self, map_shape: Sequence[int]) -> dict[str, str]:
        masks = self.masks(map_shape)
        return {} if masks is None else {"masks": masks_identity(masks)}

    @override
    def check_result(self, result: ClaimsResult) -> None:
        """Refuse masks that are not those of the claims; those of an image are known once the claims are placed."""
        stored = () if result.masks is None else result.masks
        for (index, mask), held in zip(self._masks(), stored, strict=False):
            if mask.is_known and not torch.equal(mask.mask(held.shape), held):
                raise InputError(
                    f"{mask.called} of claim {self._claims[index].name!r} is not the one that was certified"
                )

    @override
    def check_regions(self) -> None:
        check_plane(self._claims)

    @override
    def check_device(self, device: torch.device) -> None:
        check_float64(self, device)


def fewest(enough: Callable[[int], bool]) -> int:
    """Smallest positive number that is enough, by doubling and halving; no more than 2^50, which nobody can draw.

    Args:
        enough: Whether a number is; all larger ones are then enough too.

    Example:
        >>> fewest(lambda count: count**2 >= 50)
        8
    """
    most = 1
    while most < 2**50 and not enough(most):
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most


def claim_words(names: Sequence[str]) -> list[str]:
    """The first words of the metrics of claims; claims whose words would agree are numbered.

    Args:
        names: Names of the claims of a certificate, in its order.

    Example:
        >>> claim_words(["left", "60 % inside", "60 inside"])
        ['claim_left', 'claim_60_inside_1', 'claim_60_inside_2']
    """
    words = [f"claim_{metric_word(name)}" for name in names]
    return [
        word if words.count(word) == 1 else f"{word}_{words[: index + 1].count(word)}"
        for index, word in enumerate(words)
    ]


def metric_word(name: str) -> str:
    """A name as part of a metric's name.

    Args:
        name: Any line of text.

    Example:
        >>> metric_word("At least 60 % inside")
        'at_least_60_inside'
    """
    return "_".join("".join(one if one.isalnum() else " " for one in name.lower()).split()) or "unnamed"


class _LowerEnd:
    """The lower end of the interval of a claim without bounds."""

    def __init__(self, claim: int) -> None:
        self.claim = claim

    def __call__(self, result: ClaimsResult, radius: float) -> float:
        return result.interval(self.claim, radius).low
