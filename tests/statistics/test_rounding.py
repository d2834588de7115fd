"""Nothing that is printed says more than what is proved."""

import math
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lit_certattr.statistics.rounding import (
    at_least,
    at_most,
    confidence,
    confidence_percent,
    exact,
    fixed_at_least,
    fixed_at_most,
    percent_at_least,
    percent_at_most,
    total,
)

ANY = st.floats(allow_nan=False)
DIGITS = st.integers(1, 17)


@given(ANY, DIGITS)
def test_a_printed_lower_bound_is_never_above_the_value(value, digits):
    assert float(at_least(value, digits)) <= value


@given(ANY, DIGITS)
def test_a_printed_upper_bound_is_never_below_the_value(value, digits):
    assert float(at_most(value, digits)) >= value


@given(ANY, st.integers(1, 9))
def test_numbers_in_tables_lie_on_their_side(value, decimals):
    low, high = fixed_at_least(value, decimals), fixed_at_most(value, decimals)
    assert float(low) <= value <= float(high)
    if 0.01 <= abs(value) < math.inf:
        assert Decimal(high) - Decimal(low) <= Decimal(10) ** -decimals


@given(st.floats(1e-300, 1e300), DIGITS)
def test_rounding_costs_less_than_one_unit_of_the_last_digit(value, digits):
    unit = Decimal(10) ** (Decimal(repr(value)).adjusted() - digits + 1)
    low, high = Decimal(at_least(value, digits)), Decimal(at_most(value, digits))
    assert Decimal(repr(value)) - low < unit
    assert high - Decimal(repr(value)) < unit


@given(ANY)
def test_a_setting_is_printed_in_full(value):
    assert float(exact(value)) == value


@given(st.floats(0, 1))
def test_printed_shares_lie_on_their_side(share):
    assert Decimal(percent_at_least(share)) <= 100 * Decimal(repr(share)) <= Decimal(percent_at_most(share))
    assert (percent_at_least(share) == "100.0") == (share == 1)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_probability_is_exactly_one_minus_alpha(alpha):
    assert Fraction(confidence(alpha)) == 1 - Fraction(repr(alpha))
    assert Fraction(confidence_percent(alpha)) == 100 - 100 * Fraction(repr(alpha))


def test_the_ends_of_the_number_line():
    ends = (0.0, -0.0, 5e-324, math.inf, -math.inf)
    assert [at_least(value) for value in ends] == ["0", "0", "5e-324", "inf", "-inf"]
    assert at_least(1.7976931348623157e308) == "1.797e+308"
    assert (exact(math.nan), at_least(math.nan), percent_at_least(math.nan)) == ("nan", "nan", "nan")
    assert percent_at_most(-0.0004) == "0.0"


def test_numbers_as_people_write_them():
    assert [at_least(0.1), at_least(0.29), at_least(12345.6)] == ["0.1", "0.29", "12340"]
    assert [percent_at_least(share) for share in (0.29, 0.5, 0.49999, 0.99999)] == ["29.0", "50.0", "49.9", "99.9"]
    assert confidence_percent(1e-6) == "99.9999"
    assert total([0.001] * 3, count=7) == 0.021
    assert confidence(0.001, 2000) == "0"
