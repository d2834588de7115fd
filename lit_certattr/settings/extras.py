"""Packages that only some features need: imported on use, and named in one line where they are missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from lit_certattr.errors import InputError

_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
"""What is installed, by the name that is imported, where the two differ by more than ``_`` and ``-``."""


@contextmanager
def extra(name: str, feature: str) -> Iterator[None]:
    """Within the block, which only imports, a missing package becomes one line that says how to install it.

    Args:
        name: The extra of this package that brings what the block imports, e.g. ``"regions"``.
        feature: What needs it; begins the line.

    Raises:
        InputError: If a package is missing.

    Example:
        >>> with extra("regions", "Superpixels"):
        ...     import a_package_that_nobody_has
        Traceback (most recent call last):
        ...
        lit_certattr.errors.InputError: Superpixels needs a-package-that-nobody-has: pip install 'lit-certattr[regions]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        root = (error.name or str(error)).partition(".")[0]
        package = _DISTRIBUTIONS.get(root, root.replace("_", "-"))
        raise InputError(f"{feature} needs {package}: pip install 'lit-certattr[{name}]'") from error
