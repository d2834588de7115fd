"""Objectives whose formula is that of Gaussian votes take every law for which it holds."""

from lit_certattr.errors import InputError
from lit_certattr.smoothing import GAUSSIAN_LAWS, Noise


def gaussian_spread(noise: Noise) -> float:
    r"""The s of :math:`h(x') \ge \Phi(\Phi^{-1}(h(x)) - r / s)`, in the unit of the budget's lengths.

    Args:
        noise: The law of an objective.

    Raises:
        InputError: If votes under this law have another bound.

    Example:
        >>> from lit_certattr.smoothing import ExposureNoise
        >>> gaussian_spread(ExposureNoise(exposure=0.5, sigma=0.25))  # stops
        0.5
    """
    if not isinstance(noise, GAUSSIAN_LAWS):
        got = f"the class {noise.__name__}" if isinstance(noise, type) else f"{noise!r:.80}"
        names = ", ".join(law.__name__ for law in GAUSSIAN_LAWS)
        raise InputError(f"noise must be one of {names}, e.g. GaussianNoise(sigma=0.25), got {got}")
    return noise.budget.typical
