"""The memory budget: every pair is done once whatever fits, and what fits is found by halving."""

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lit_certattr.attribution import RISE, IntegratedGradients, Occlusion, batching
from lit_certattr.attribution.batching import is_out_of_memory, starting_batch, tiled
from lit_certattr.errors import InputError

pytestmark = pytest.mark.usefixtures("_no_collection")
IMAGES = torch.rand(3, 1, 6, 6)
TARGETS = torch.tensor([0, 1, 1])


@pytest.fixture(scope="module")
def _no_collection():
    """Collecting garbage takes longer than all the rest; nothing here ran out of real memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "garbage_collection_cuda", lambda: None)
        yield


class Small(nn.Module):
    """A device on which only so many images fit."""

    def __init__(self, fits):
        super().__init__()
        self.fits, self.sizes = fits, []
        self.linear = nn.Linear(36, 2)

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.linear(images.flatten(1))


def covered(num_images, num_samples, max_batch, fits=10**9):
    counts, sizes, model = torch.zeros(num_images, num_samples, dtype=torch.int), [], nn.Identity()

    def work(rows, samples):
        size = (rows.stop - rows.start) * (samples.stop - samples.start)
        sizes.append(size)
        if size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        counts[rows, samples] += 1

    tiled(work, num_images, num_samples, model=model, images=IMAGES, max_batch=max_batch)
    return counts, sizes


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 50))
def test_tiles_cover_every_pair_once_and_keep_the_budget(num_images, num_samples, max_batch):
    counts, sizes = covered(num_images, num_samples, max_batch)
    assert (counts == 1).all()
    assert max(sizes) <= max_batch


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 50))
def test_every_pair_is_done_once_when_memory_runs_out(num_images, num_samples, fits):
    counts, sizes = covered(num_images, num_samples, None, fits)
    assert (counts == 1).all()
    assert len(sizes) <= counts.numel() + 8  # a halving each


@pytest.mark.parametrize("method", [Occlusion(3, 1), RISE(20, 2), IntegratedGradients(20)])
@pytest.mark.parametrize("fits", [1, 7, 1000])
def test_a_method_finds_what_fits_and_remembers_it(method, fits):
    model = Small(fits)
    free = Small(10**9)
    free.linear = model.linear
    model.fits = max(fits, 3) if isinstance(method, Occlusion) else fits  # the whole images are one evaluation
    torch.testing.assert_close(method(model, IMAGES, TARGETS), method(free, IMAGES, TARGETS))
    model.sizes.clear()
    method(model, IMAGES, TARGETS)
    assert max(model.sizes) <= model.fits


def test_a_budget_that_was_given_is_obeyed():
    with pytest.raises(torch.OutOfMemoryError):
        RISE(20, 2, max_batch=9)(Small(7), IMAGES, TARGETS)


def test_one_image_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        RISE(20, 2)(Small(0), IMAGES, TARGETS)


def test_other_errors_pass():
    def fail(rows, samples):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        tiled(fail, 1, 5, model=nn.Identity(), images=IMAGES)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA out of memory."), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_what_fitted_is_forgotten_with_the_network():
    model = Small(2)
    RISE(20, 2)(model, IMAGES, TARGETS)
    assert model in batching._fits
    before = len(batching._fits)
    del model
    gc.collect()
    assert len(batching._fits) == before - 1


def test_start_and_budget_are_sensible():
    assert starting_batch((3, 4096, 4096), torch.device("cpu")) == 1
    assert starting_batch((3, 224, 224), torch.device("cuda")) == 512
    with pytest.raises(InputError, match="max_batch must be at least 1"):
        tiled(lambda rows, samples: None, 1, 1, model=nn.Identity(), images=IMAGES, max_batch=0)
