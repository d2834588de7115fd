"""The best of several, chosen by its own certificate, is false far more often than one of them; fresh noise is not."""

import numpy as np
import pytest
from scipy.stats import binom

from lit_certattr.callbacks.selection import alpha_after_selection
from lit_certattr.statistics import clopper_pearson_lower

ALPHA, SAMPLES, RUNS = 0.05, 200, 4000
TABLE = clopper_pearson_lower(np.arange(SAMPLES + 1), SAMPLES, ALPHA)
CLAIM = 190  # this count claims that the vote is at least TABLE[CLAIM]; the truth is just below
TRUTH = float(np.nextafter(TABLE[CLAIM], 0))


def false(bounds):
    return bounds > TRUTH


@pytest.mark.parametrize("candidates", [1, 10, 50])
def test_the_best_of_several_holds_at_their_number_times_alpha_and_no_better(candidates):
    """All have a vote just below the bound; the one with the largest certified vote is kept."""
    rng = np.random.default_rng(candidates)
    best = TABLE[rng.binomial(SAMPLES, TRUTH, (RUNS, candidates))].max(1)
    wrong = int(false(best).sum())
    expected = 1 - (1 - ALPHA) ** candidates
    low, high = binom.ppf([0.0005, 0.9995], RUNS, expected)
    assert low <= wrong <= high
    assert wrong <= binom.ppf(0.9995, RUNS, alpha_after_selection([ALPHA], candidates))
    if candidates > 1:
        assert wrong > binom.ppf(0.9995, RUNS, ALPHA), "not at alpha"


@pytest.mark.parametrize("candidates", [10, 50])
def test_the_best_of_several_certified_with_fresh_noise_holds_at_alpha(candidates):
    """Candidates of different quality, so that the choice matters; what is judged is the fresh certificate."""
    rng = np.random.default_rng(candidates)
    truth = np.linspace(0.8, TRUTH, candidates)
    chosen = truth[TABLE[rng.binomial(SAMPLES, truth, (RUNS, candidates))].argmax(1)]
    fresh = TABLE[rng.binomial(SAMPLES, chosen)]
    assert int((fresh > chosen).sum()) <= binom.ppf(0.9995, RUNS, ALPHA)
