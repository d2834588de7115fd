import tracemalloc

import numpy as np
import pytest

from lit_certattr.statistics import bootstrap_intervals, resampling, sign_test


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    generator, hits = np.random.default_rng(3), 0
    for number in range(200):
        low, high = bootstrap_intervals(generator.beta(2, 3, size=(60, 1)), num_draws=400, seed=number)
        hits += low[0] <= 0.4 <= high[0]
    assert 0.88 <= hits / 200 <= 0.99


def test_numbers_of_an_image_are_drawn_together():
    values = np.random.default_rng(0).random((30, 1))
    low, high = bootstrap_intervals(np.hstack([values, values, -values]))
    assert low[0] == pytest.approx(low[1])
    assert high[0] == pytest.approx(-low[2])


def test_images_without_a_number_are_left_out():
    values = np.random.default_rng(0).random((12, 1))
    gaps = np.vstack([values, np.full((5, 1), np.nan)])
    low, high = bootstrap_intervals(gaps)
    assert low[0] < values.mean() < high[0]
    assert bootstrap_intervals(np.full((4, 1), np.nan))[0][0] != bootstrap_intervals(np.full((4, 1), np.nan))[0][0]


@pytest.mark.parametrize("values", [[[0.5]], [[0.5], [0.5], [0.5]], [[0.5], [np.nan]], np.zeros((0, 1))])
def test_no_interval_from_what_does_not_vary(values):
    low, high = bootstrap_intervals(values)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_equal_draws_with_an_equal_seed():
    values = np.random.default_rng(1).random((9, 2))
    assert np.array_equal(bootstrap_intervals(values, seed=5), bootstrap_intervals(values, seed=5))
    assert not np.array_equal(bootstrap_intervals(values, seed=5), bootstrap_intervals(values, seed=6))


@pytest.mark.parametrize(("larger", "smaller", "p"), [(5, 0, 2 / 32), (0, 5, 2 / 32), (4, 1, 12 / 32), (1, 1, 1.0)])
def test_signs_by_counting(larger, smaller, p):
    assert sign_test(larger, smaller) == pytest.approx(p)


def test_draws_of_two_blocks_are_never_in_memory_together(monkeypatch):
    monkeypatch.setattr(resampling, "_BLOCK", 2**18)
    values = np.linspace(0, 1, 2**12)[:, None]
    bootstrap_intervals(values, num_draws=100)
    tracemalloc.start()
    bootstrap_intervals(values, num_draws=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * 8 * 2**18, "the block as whole numbers and as real ones"
