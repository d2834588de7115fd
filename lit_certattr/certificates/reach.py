"""How far changes of an image may go until so much of a result is lost."""

from lit_certattr.certificates.capabilities import CountsPixels

FARTHEST = 2.0**20
"""Usual lengths: what still holds there is no statement about changes."""


def length_that_keeps(result: CountsPixels, needed: int, usual: float) -> float | None:
    """The length below which so many certified things hold; ``None`` if they never cease to.

    Args:
        result: A result of one image.
        needed: How many must hold; at least 1, at most as many as are certified at the image.
        usual: A usual length, from which the search starts.

    Example:
        >>> class Two:
        ...     def certified_count(self, radius=0.0):
        ...         return int(radius < 0.25) + int(radius < 0.5), 2
        >>> length_that_keeps(Two(), 2, usual=1.0), length_that_keeps(Two(), 1, usual=0.01)
        (0.25, 0.5)
    """
    low, high = 0.0, usual
    while result.certified_count(high)[0] >= needed:
        low, high = high, 2 * high
        if high > FARTHEST * usual:
            return None
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if result.certified_count(middle)[0] >= needed else (low, middle)
    return float(high)
