"""The numbers of the table are the theorem's, and the example of the theory."""

import pytest

from benchmarks.mus import KEEPS, VOTES, mus_radius, removed, repainted, revealed


def test_the_known_example():
    assert removed(0.985, 0.25) == 12
    assert revealed(0.985, 0.25) == 2
    assert repainted(0.985, 0.25) == 2
    assert mus_radius(0.985, 0.25) == pytest.approx(1.94)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("vote", VOTES)
def test_each_count_is_the_largest_that_keeps_a_majority(vote, keep):
    def least(removals, reveals, repaints):
        alike = (1 - keep) ** (reveals + repaints)
        return alike * max(0.0, 1 - (1 - vote) / (1 - keep) ** (removals + repaints))

    for position, count in enumerate((removed, revealed, repainted)):
        most = count(vote, keep)
        below, beyond = [0, 0, 0], [0, 0, 0]
        below[position], beyond[position] = most, most + 1
        assert least(*below) > 0.5 - 1e-9
        assert least(*beyond) <= 0.5 + 1e-9
