"""The normals: their generator, their law, and that a sample is a function of (seed, image id, index) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lit_certattr.smoothing import normal_stream, normals
from lit_certattr.smoothing.normals import CPUNormals, image_key


def draw(rows, columns, start=0, seed=0, image_id="cat", dtype=torch.float32):
    return normal_stream(seed, image_id, "cpu").fill_(torch.empty(rows, columns, dtype=dtype), start)


def box_muller(bits):
    """The transform in float64: 40 high bits for the radius, 24 low ones for the angle."""
    uniform = ((bits >> np.uint64(24)).astype(np.float64) + 0.5) / 2.0**40
    angle = (bits & np.uint64(2**24 - 1)).astype(np.float64) * (2 * np.pi / 2**24)
    radius = np.sqrt(-2 * np.log(uniform))
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])


def assert_single_precision(values, expected):
    """Rounding u near 1 moves only the radii near 0, by up to the root of half an ulp's effect, 3.5e-4."""
    error = np.abs(values - expected)
    assert np.median(error) < 2e-7
    assert error.max() < 4e-4


@pytest.mark.parametrize("number", [0, 1, 2**40])
def test_a_block_is_box_muller_of_the_keyed_counter(number):
    philox = np.random.Philox(key=image_key(0, "cat"), counter=[0, 0, 0, number])
    expected = box_muller(philox.random_raw(8 * 100 // 2)).reshape(8, 100)
    assert_single_precision(draw(8, 100, 8 * number).numpy(), expected)


def test_large_blocks_are_drawn_in_chunks_of_the_same_stream():
    philox = np.random.Philox(key=image_key(0, "cat"), counter=[0, 0, 0, 0])
    chunk = CPUNormals._CHUNK
    expected = np.concatenate([box_muller(philox.random_raw(pairs)) for pairs in (chunk, chunk, 3_000)])
    assert_single_precision(draw(8, (2 * chunk + 3_000) // 4).numpy().ravel(), expected)


@pytest.mark.parametrize(("bits", "largest"), [(0, (2 * 41 * np.log(2)) ** 0.5), (2**64 - 1, 0.0)])
def test_the_tail_reaches_beyond_what_any_certificate_can_see(bits, largest):
    radius, _ = normals._uniforms_single(np.full((1, 4), bits, np.uint64))
    assert np.sqrt(-2 * np.log(radius.astype(np.float64))) == pytest.approx(largest)
    assert 150_528 * 2 * stats.norm.sf(7.5) < 1e-8


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
    """One number a sample: pairs are split between samples."""
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
