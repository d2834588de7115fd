"""Numbers as text, rounded to the safe side: a printed number never claims more than was proved.

Certified lower bounds (radii, overlaps, cosines, norms, shares) are printed with :func:`at_least`, upper bounds with
:func:`at_most`, probabilities of a statement with :func:`confidence`, and settings of the user (sigma, alpha, a
budget) with :func:`exact`. Files for machines (JSON, Parquet, safetensors) hold the full numbers.
"""

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_EXACT = Context(prec=800)  # one minus the smallest float needs 1 + 323 digits, the largest one 309


def exact(value: float) -> str:
    """A number as a person would write it, with all its digits.

    Args:
        value: Any float.

    Example:
        >>> exact(0.25), exact(2.0), exact(1e-07), exact(float("inf"))
        ('0.25', '2', '1e-7', 'inf')
    """
    return _text(_decimal(value))


def counted(number: int, thing: str) -> str:
    """How many things there are, with an "s" behind the name of the thing unless there is one.

    Args:
        number: How many.
        thing: One of them.

    Example:
        >>> counted(1, "image"), counted(1200, "level of K"), counted(0, "finding")
        ('1 image', '1,200 levels of K', '0 findings')
    """
    first, space, rest = thing.partition(" ")
    return f"{number:,} {first}{'s' * (number != 1)}{space}{rest}"


def at_least(value: float, digits: int = 4) -> str:
    """A number rounded down: read back, it never exceeds ``value``.

    Args:
        value: Any float.
        digits: Significant digits, at least 1.

    Example:
        >>> at_least(0.123456), at_least(0.99999), at_least(-0.123456, 3), at_least(0.5)
        ('0.1234', '0.9999', '-0.124', '0.5')
    """
    return _text(Context(prec=digits, rounding=ROUND_FLOOR).plus(_decimal(value)))


def at_most(value: float, digits: int = 4) -> str:
    """A number rounded up: read back, it is never below ``value``.

    Args:
        value: Any float.
        digits: Significant digits, at least 1.

    Example:
        >>> at_most(0.123412), at_most(1.00001), at_most(0.5)
        ('0.1235', '1.001', '0.5')
    """
    return _text(Context(prec=digits, rounding=ROUND_CEILING).plus(_decimal(value)))


def fixed_at_least(value: float, decimals: int = 3) -> str:
    """A number rounded down to a fixed number of decimals, for tables.

    A number below 0.01 keeps as many significant digits instead.

    Args:
        value: Any float.
        decimals: Digits after the point.

    Example:
        >>> fixed_at_least(0.5), fixed_at_least(0.4999), fixed_at_least(0.00123456), fixed_at_least(0.0)
        ('0.500', '0.499', '0.00123', '0.000')
    """
    return at_least(value, decimals) if 0 < abs(value) < 0.01 else _fixed(_decimal(value), decimals, ROUND_FLOOR)


def fixed_at_most(value: float, decimals: int = 3) -> str:
    """A number rounded up to a fixed number of decimals, for tables.

    A number below 0.01 keeps as many significant digits instead.

    Args:
        value: Any float.
        decimals: Digits after the point.

    Example:
        >>> fixed_at_most(0.5), fixed_at_most(0.4991), fixed_at_most(0.00123456)
        ('0.500', '0.500', '0.00124')
    """
    return at_most(value, decimals) if 0 < abs(value) < 0.01 else _fixed(_decimal(value), decimals, ROUND_CEILING)


def percent_at_least(share: float) -> str:
    """A share in percent with one decimal, rounded down; without the percent sign.

    Args:
        share: A share; 1 is the whole.

    Example:
        >>> percent_at_least(0.4999), percent_at_least(0.99999), percent_at_least(1.0)
        ('49.9', '99.9', '100.0')
    """
    return _percent(share, ROUND_FLOOR)


def percent_at_most(share: float) -> str:
    """A share in percent with one decimal, rounded up; without the percent sign.

    Args:
        share: A share; 1 is the whole.

    Example:
        >>> percent_at_most(0.0001), percent_at_most(0.5)
        ('0.1', '50.0')
    """
    return _percent(share, ROUND_CEILING)


def confidence(alpha: float, count: int = 1) -> str:
    r"""The probability :math:`1 - n \alpha` with all its digits, never rounded to 1; 0 where it would be negative.

    Args:
        alpha: Probability of error of one statement.
        count: Number n of statements that are to hold together.

    Example:
        >>> confidence(0.001), confidence(1e-07), confidence(0.001, count=4), confidence(0.1, count=20)
        ('0.999', '0.9999999', '0.996', '0')
    """
    return _text(_confidence(alpha, count))


def confidence_percent(alpha: float) -> str:
    r"""The probability :math:`1 - \alpha` in percent with all its digits; without the percent sign.

    Args:
        alpha: Probability of error.

    Example:
        >>> confidence_percent(0.001), confidence_percent(1e-06)
        ('99.9', '99.9999')
    """
    return _text(_EXACT.multiply(_confidence(alpha, 1), Decimal(100)))


def total(alphas: Iterable[float], count: int = 1) -> float:
    """Sum of probabilities of error, added as decimals, so that ``0.1 + 0.2`` is ``0.3``.

    Args:
        alphas: The probabilities of the statements about one image, as they were set.
        count: Number of images.

    Example:
        >>> total([0.1, 0.2]), total([0.0011], count=3)
        (0.3, 0.0033)
    """
    return float(count * sum((_decimal(alpha) for alpha in alphas), Decimal(0)))


def _confidence(alpha: float, count: int) -> Decimal:
    error = _EXACT.multiply(_decimal(alpha), Decimal(count))
    return max(Decimal(0), _EXACT.subtract(Decimal(1), error))


def _percent(share: float, rounding: str) -> str:
    return _fixed(_EXACT.multiply(_decimal(share), Decimal(100)), 1, rounding)


def _fixed(value: Decimal, decimals: int, rounding: str) -> str:
    if not value.is_finite():
        return _text(value)
    # "+ 0" turns the -0.0 that a small negative number can be rounded up to into 0.0.
    return format(_EXACT.add(value.quantize(Decimal(1).scaleb(-decimals), rounding, _EXACT), Decimal(0)), "f")


def _decimal(value: float) -> Decimal:
    """The shortest decimal that is read back as this float: what a user has written, or what a file shows."""
    return Decimal(repr(float(value)))


def _text(value: Decimal) -> str:
    if not value.is_finite():
        return str(float(value))
    if not value:
        return "0"
    short = value.normalize(_EXACT)
    return format(short, "f" if -5 <= short.adjusted() < 16 else "e")
