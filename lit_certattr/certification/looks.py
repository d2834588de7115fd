"""Numbers of samples: those at which sampling may stop, and those that are too few."""

from collections.abc import Callable, Mapping

from lit_certattr.certificates import Certificate
from lit_certattr.errors import InputError
from lit_certattr.statistics import doubling_looks
from lit_certattr.statistics.rounding import exact


def possible_looks(
    certificates: Mapping[str, Certificate], num_samples: int, num_pixels: int, first_share: Callable[[int], float]
) -> tuple[int, ...]:
    """Numbers of samples at which the sampling of an image may stop early.

    The first is the smallest power of two with which every certificate can certify something.

    Args:
        certificates: The certificates by name.
        num_samples: Largest number of samples per image; the last look.
        num_pixels: Pixels of a map.
        first_share: Gives the share of alpha of the first look, for a number of looks.

    Raises:
        InputError: If the settings of a certificate do not fit maps of that size.

    Example:
        >>> from lit_certattr.certificates import PixelCertificate
        >>> possible_looks({"pixel": PixelCertificate([0.5])}, 100, 64, lambda number: 0.5 / (number - 1))
        (32, 64, 100)
    """
    first = 1
    while first < num_samples:
        looks = doubling_looks(first, num_samples)
        share = first_share(len(looks))
        if all(one.smallest_num_samples(num_pixels, share) <= first for one in certificates.values()):
            return looks
        first *= 2
    return (num_samples,)


def check_sample_size(
    certificates: Mapping[str, Certificate], num_samples: int, num_pixels: int, share: float = 1.0
) -> None:
    """Refuse a number of samples with which a certificate cannot certify any pixel.

    Args:
        certificates: The certificates by name.
        num_samples: Samples per image.
        num_pixels: Pixels of a map.
        share: Share of alpha that the result of all samples uses.

    Raises:
        InputError: If there are too few samples; the message names the smallest number that is enough.
    """
    needed = {name: one.smallest_num_samples(num_pixels, share) for name, one in certificates.items()}
    name = max(needed, key=lambda key: needed[key])  # the hungriest, so that one correction is enough
    if num_samples < needed[name]:
        raise InputError(
            f"num_samples={num_samples} certifies nothing, even if all samples agree "
            f"({name}, alpha={exact(certificates[name].alpha)}, {num_pixels} pixels): "
            f"at least {needed[name]} samples are needed"
        )
