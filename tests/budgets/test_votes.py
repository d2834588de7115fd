"""How far a change can move a vote: what holds for every law, and the last bits of the Gaussian one."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.stats import norm

from lit_certattr.budgets.votes import GaussianVotes, VoteBounds


class IntervalVotes(VoteBounds):
    """Noise that is uniform on an interval of width 4: a change of length r moves a vote by r / 4, and no further."""

    too_far = 1.0
    """What the inverse is off by."""

    def lower(self, vote, radii):
        return np.maximum(0.0, np.asarray(vote) - np.asarray(radii) / 4)

    def reach(self, vote, level):
        return 4 * (vote - level) * self.too_far


class OffVotes(IntervalVotes):
    """Its inverse is rounded up, by far more than that of any law."""

    too_far = 1.001


class Jump(IntervalVotes):
    """Every change, however small, takes the majority away."""

    def lower(self, vote, radii):
        return np.where(np.asarray(radii) > 0, 0.25, vote)


def test_what_is_not_the_label_moves_upwards_as_far_as_the_label_moves_downwards():
    law = IntervalVotes()
    assert law.upper(0.25, [0.0, 1.0, 2.5, 9.0]).tolist() == [0.25, 0.5, 0.875, 1.0]
    assert law.reach_up(0.25, 0.75) == law.reach(0.75, 0.25) == 2.0
    assert law.reach_up(0.75, 0.25) == -2.0


@pytest.mark.parametrize("law", [IntervalVotes(), OffVotes()])
def test_at_the_radius_of_any_law_a_vote_is_above_one_half_and_little_further_it_is_not(law):
    votes = np.array([[0.0, 0.5, np.nextafter(0.5, 1)], [0.501, 0.75, 1.0]])
    radii = law.radius(votes)
    assert radii.shape == votes.shape
    assert (radii[votes <= 0.5] == 0).all()
    assert (law.lower(votes, radii)[votes > 0.5] > 0.5).all()
    exact = 4 * (votes - 0.5)
    assert (radii <= np.maximum(exact, 0)).all()
    assert (radii[1] >= exact[1] * (0.99 if law.too_far > 1 else 1 - 1e-12)).all()


def test_a_radius_that_no_step_back_makes_right_is_zero():
    assert Jump().radius([0.75, 1.0, 0.2]).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_the_gaussian_law_is_in_the_units_of_its_scale_on_both_sides(scale):
    law = GaussianVotes(scale)
    for vote, level in ((0.9, 0.6), (0.6, 0.9), (0.3, 0.02)):
        length = scale * (norm.ppf(vote) - norm.ppf(level))
        assert law.reach(vote, level) == pytest.approx(length, rel=1e-12)
        assert law.reach_up(vote, level) == pytest.approx(-length, rel=1e-12)
        assert float(law.lower(vote, abs(length))) == pytest.approx(norm.cdf(norm.ppf(vote) - abs(length) / scale))
        assert float(law.upper(vote, abs(length))) == pytest.approx(norm.cdf(norm.ppf(vote) + abs(length) / scale))
        assert float(law.upper(vote, length)) == pytest.approx(1 - float(law.lower(1 - vote, length)))


def exact_quantile(vote):
    """The quantile of a vote of exactly this float, with 40 digits."""
    with mpmath.workdps(40):
        return mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(vote) - 1)


def test_gaussian_radii_are_below_the_exact_ones_in_the_last_bits():
    """The quantile function may round up; the allowance covers it, and costs some last bits only."""
    rng = np.random.default_rng(0)
    votes = np.concatenate([rng.uniform(0.5, 1, 600), 1 - 10.0 ** rng.uniform(-15, -1, 200), [np.nextafter(1, 0)]])
    for scale in (1.0, 0.25):
        for vote, radius in zip(votes.tolist(), GaussianVotes(scale).radius(votes).tolist(), strict=True):
            exact = scale * exact_quantile(vote)
            assert radius <= exact
            assert radius >= exact * (1 - 1e-14) - scale * 2e-15


def test_gaussian_radii_of_votes_at_the_ends():
    law = GaussianVotes(0.5)
    assert law.radius([0.0, 0.3, 0.5]).tolist() == [0.0, 0.0, 0.0]
    assert law.radius([1.0])[0] == law.radius([np.nextafter(1, 0)])[0]
    assert 8 < law.radius([1.0])[0] / 0.5 < 8.3, "a vote of one is what a float can tell from it, not certainty"


def test_a_length_over_the_scale_is_rounded_up():
    rng = np.random.default_rng(1)
    for scale, radius in rng.uniform(0.05, 2, (200, 2)).tolist():
        exact = Fraction(radius) / Fraction(scale)
        assert exact <= Fraction(float(GaussianVotes(scale)._lengths(radius))) <= exact * (1 + Fraction(2, 10**15))
