import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_certattr.errors import InputError
from lit_certattr.objectives import Schedule

NUMBERS = st.floats(0, 100)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_rises_from_zero_to_its_value(value, warmup, ramp, epoch, later):
    schedule = Schedule(value, warmup, ramp)
    epoch, later = sorted((epoch, later))
    assert 0 <= schedule.at(epoch) <= schedule.at(later) <= value
    assert epoch >= warmup or schedule.at(epoch) == 0
    assert schedule.at(warmup + ramp + 1e-3) == pytest.approx(value)


def test_a_number_holds_from_the_first_step():
    assert Schedule.of(2) == Schedule(2.0)
    assert Schedule.of(2).at(0) == 2.0
    assert Schedule.of(Schedule(1.0, 3)) == Schedule(1.0, 3)


@pytest.mark.parametrize("name", ["value", "warmup_epochs", "ramp_epochs"])
@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf")])
def test_refuses_numbers_out_of_range(name, number):
    with pytest.raises(InputError, match=f"{name} of a schedule must be a number of at least 0"):
        Schedule(**{"value": 1.0} | {name: number})
