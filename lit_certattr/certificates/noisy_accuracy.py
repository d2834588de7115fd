"""What is said about the noisy accuracy of results: how many noisy copies are predicted as the explained class."""

import math
from collections.abc import Iterable

from lit_certattr.errors import InputError
from lit_certattr.smoothing import noise_law
from lit_certattr.statistics.rounding import counted, percent_at_least

LOW = 0.5
"""Below this noisy accuracy most noisy copies are not predicted as the explained class, and users are warned."""


def remedy_of(law: object) -> str:
    """What helps against a low noisy accuracy under a noise law.

    Args:
        law: The law as a record writes it, e.g. ``"GaussianNoise(sigma=0.25)"``; of an unknown law nothing is said
            about its settings.

    Example:
        >>> remedy_of("GammaNoise(log_gamma=0.2, sigma=0.0)")
        'use a smaller log_gamma, or a network that is trained with this noise (NoiseAugmentation)'
    """
    try:
        return noise_law(law).remedy
    except InputError:
        return "use milder noise, or a network that is trained with it"


def milder_of(law: object) -> str:
    """What makes a noise law milder, to follow "use".

    Args:
        law: The law as a record writes it; of an unknown law nothing is said about its settings.
    """
    try:
        return noise_law(law).milder
    except InputError:
        return "milder noise"


def in_one_line(accuracies: Iterable[float | None]) -> str | None:
    """The noisy accuracy of a data set in one line; ``None`` if it is unknown for all images.

    Args:
        accuracies: Noisy accuracy of each image, or ``None`` where it is unknown.

    Example:
        >>> in_one_line([0.25, 0.75, None])
        'noisy accuracy: 50.0 % of the noisy copies are predicted as the explained class (mean of 2 images)'
    """
    known = _known(accuracies)
    if not known:
        return None
    images = "1 image" if len(known) == 1 else f"mean of {len(known)} images"
    mean = percent_at_least(math.fsum(known) / len(known))
    return f"noisy accuracy: {mean} % of the noisy copies are predicted as the explained class ({images})"


def warning(accuracies: Iterable[float | None], remedy: str) -> str | None:
    """One line for all images with a low noisy accuracy, with the remedy; ``None`` if there is none.

    Args:
        accuracies: Noisy accuracy of each image, or ``None`` where it is unknown.
        remedy: What helps under the noise law (:attr:`~lit_certattr.smoothing.Noise.remedy`).

    Example:
        >>> warning([0.25, 0.75], "use a smaller sigma").partition(":")[0]
        'the noisy accuracy is below 50 % for 1 of 2 images'
        >>> warning([0.5, None], "use a smaller sigma") is None
        True
    """
    known = _known(accuracies)
    low = sum(accuracy < LOW for accuracy in known)
    if not low:
        return None
    return (
        f"the noisy accuracy is below {100 * LOW:g} % for {low} of {counted(len(known), 'image')}: "
        f"{'its map explains' if low == 1 else 'their maps explain'} a class that the network hardly sees under this "
        f"noise; {remedy}"
    )


def _known(accuracies: Iterable[float | None]) -> list[float]:
    return [accuracy for accuracy in accuracies if accuracy is not None]
