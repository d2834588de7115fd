"""A mean that is rounded once, of numbers that are not kept."""

_PLACES = 1074
"""Every float64 is a multiple of 2 ** -1074."""


class ExactMean:
    """The mean of numbers that come one at a time: the bits of ``math.fsum(numbers) / len(numbers)``.

    Example:
        >>> mean = ExactMean()
        >>> for number in (1e16, 1.0, -1e16):
        ...     mean.add(number)
        >>> mean.value
        0.3333333333333333
    """

    __slots__ = ("_sum", "count")

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0  # in units of the smallest float

    def add(self, number: float) -> None:
        """Add a number.

        Args:
            number: A finite number.
        """
        top, bottom = number.as_integer_ratio()  # the second one is a power of two
        self._sum += top << _PLACES + 1 - bottom.bit_length()
        self.count += 1

    @property
    def value(self) -> float:
        """The mean of at least one number."""
        return self._sum / (1 << _PLACES) / self.count
