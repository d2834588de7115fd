"""The normals: their generator, their law, and that a sample is a function of (seed, image id, index) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lit_certattr.smoothing import normal_stream
from lit_certattr.smoothing.normals import CPUNormals, image_key


def draw(rows, columns, start=0, seed=0, image_id="cat", dtype=torch.float32):
    return normal_stream(seed, image_id, "cpu").fill_(torch.empty(rows, columns, dtype=dtype), start)


def seated(number):
    stream = CPUNormals(0, "cat", torch.device("cpu"))
    stream._seek(number)
    return stream._generator


@pytest.mark.parametrize("number", [0, 1, 2**40])
def test_the_generator_holds_the_words_of_philox(number):
    words = seated(number).get_state().numpy().view(np.uint64)[3:627]
    expected = np.random.Philox(key=image_key(0, "cat"), counter=[0, 0, 0, number]).random_raw(312).view(np.uint32)
    assert (words == expected).all()


def test_the_generator_is_the_mersenne_twister_over_exactly_these_words():
    """If torch lays out its state in another way, the words do not arrive, and this fails."""
    generator = seated(3)
    twister = np.random.MT19937()
    words = generator.get_state().numpy().view(np.uint64)[3:627].astype(np.uint32)
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    drawn = torch.empty(2000, dtype=torch.int32).random_(generator=generator)
    assert (drawn.numpy() == twister.random_raw(2000) % 2**31).all()


@given(st.integers(0, 70), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_sample_does_not_depend_on_where_drawing_starts_or_how_much_is_drawn(start, rows, columns):
    assert torch.equal(draw(rows, columns, start), draw(120, columns)[start : start + rows])


def test_drawing_twice_from_one_stream_gives_the_same():
    stream = normal_stream(0, "cat", "cpu")
    first = stream.fill_(torch.empty(11, 7), 3).clone()
    stream.fill_(torch.empty(5, 7), 60)
    assert torch.equal(stream.fill_(torch.empty(11, 7), 3), first)


def test_samples_images_and_seeds_share_no_number():
    """In float64 a coincidence of 76800 normals has probability below 1e-6."""
    values = torch.cat([draw(64, 200, 0, seed, name, torch.float64) for seed in (0, 1, 10) for name in ("0", "cat")])
    assert len(values.unique()) == values.numel()


def test_seed_and_id_do_not_run_together():
    assert image_key(1, "1cat") != image_key(11, "cat")
    assert image_key(0, "cat") != image_key(0, "cat ")


def test_far_samples_are_reachable_and_different():
    assert not torch.equal(draw(1, 50, 10**12), draw(1, 50, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_law_is_standard_normal(dtype):
    values = draw(512, 1000, dtype=dtype).double().numpy()
    assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3
    for axis in (0, 1):  # every coordinate, and every sample
        length = values.shape[axis]
        assert abs(values.mean(axis)).max() * length**0.5 < 5
        assert abs(values.var(axis) - 1).max() * (length / 2) ** 0.5 < 6
    for quantile in (1e-4, 1e-3, 0.999, 0.9999):
        share = (values < stats.norm.ppf(quantile)).mean()
        assert abs(share - quantile) < 5 * (quantile * (1 - quantile) / values.size) ** 0.5


def test_a_small_image_is_normal_too():
    """Fewer than 16 numbers take another way through torch's sampler."""
    assert stats.kstest(draw(20_000, 1).double().numpy().ravel(), "norm").pvalue > 1e-3


def test_samples_coordinates_images_and_seeds_are_uncorrelated():
    values = draw(200, 4096).double()
    between_samples = torch.corrcoef(values).fill_diagonal_(0)
    between_coordinates = torch.corrcoef(draw(4096, 200).double().T).fill_diagonal_(0)
    assert between_samples.abs().max() * 64 < 5.5
    assert between_coordinates.abs().max() * 64 < 5.5
    for other in (draw(200, 4096, image_id="dog"), draw(200, 4096, seed=1), draw(200, 4096, start=1)):
        per_sample = (values * other.double()).mean(1)
        assert per_sample.abs().max() * 64 < 5
    lagged = [(values[:, lag:] * values[:, :-lag]).mean() for lag in (1, 2, 4, 8, 16, 624)]
    assert max(map(abs, lagged)) * values.numel() ** 0.5 < 5


def test_squares_of_samples_are_uncorrelated():
    squares = draw(200, 4096).double().square()
    assert torch.corrcoef(squares).fill_diagonal_(0).abs().max() * 64 < 6


def test_torch_generator_is_left_alone():
    before = torch.get_rng_state()
    draw(10, 100)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_normals_do_not_depend_on_the_batch():
    whole = normal_stream(0, "cat", "cuda").fill_(torch.empty(100, 300, device="cuda"), 0)
    for start, rows in ((0, 1), (3, 7), (31, 2), (32, 64), (5, 95)):
        part = normal_stream(0, "cat", "cuda").fill_(torch.empty(rows, 300, device="cuda"), start)
        assert torch.equal(part, whole[start : start + rows])
    assert stats.kstest(whole.double().cpu().numpy().ravel(), "norm").pvalue > 1e-3
    assert torch.corrcoef(whole).fill_diagonal_(0).abs().max() * 300**0.5 < 5.5
