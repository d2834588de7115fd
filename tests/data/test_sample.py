"""The batch contract: samples, ids, batches, splits."""

import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lit_certattr.data import (
    ImageDataModule,
    ImageError,
    PixelArray,
    Sample,
    SampleSet,
    balanced_order,
    collate,
    safe_id,
)
from lit_certattr.errors import InputError


def make(count=5, **more):
    return SampleSet(torch.rand(count, 1, 2, 2), list(range(count)), [f"x-{i}" for i in range(count)], **more)


def test_a_batch_is_a_sample_of_tensors_and_ids():
    batch = next(iter(DataLoader(make(), batch_size=3, collate_fn=collate)))
    assert isinstance(batch, Sample)
    assert batch.image.shape == (3, 1, 2, 2)
    assert batch.image.dtype == torch.float32
    assert batch.target.dtype == torch.int64
    assert batch.target.tolist() == [0, 1, 2]
    assert batch.id == ["x-0", "x-1", "x-2"]


def test_subsets_of_subsets_keep_image_target_and_id_together():
    samples = make()
    chosen = samples.subset([4, 2, 0]).subset([2, 0])
    for sample, index in zip([chosen[0], chosen[1]], [0, 4], strict=True):
        torch.testing.assert_close(sample.image, samples.images[index])
        assert (sample.target, sample.id) == (index, f"x-{index}")
    assert len(chosen) == 2


def test_iteration_ends():
    assert [sample.id for sample in make(3).subset([1, 0])] == ["x-1", "x-0"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.01, 1.01])
def test_pixels_outside_0_1_are_refused_by_name(value):
    images = torch.rand(2, 1, 2, 2)
    images[1, 0, 1, 1] = value
    samples = SampleSet(images, [0, 1], ["good", "bad"])
    samples[0]
    with pytest.raises(InputError, match="image bad has pixels"):
        samples[1]


def test_a_worker_process_reports_one_line():
    samples = SampleSet(torch.full((4, 1, 2, 2), 2.0), [0] * 4, list("abcd"))
    with pytest.raises(InputError) as caught:
        list(DataLoader(samples, num_workers=2, collate_fn=collate))
    assert str(caught.value) == "image a has pixels that are not finite or not in [0, 1]"


def test_two_workers_give_the_same_batches():
    samples = make(7)
    one, two = (list(DataLoader(samples, batch_size=2, num_workers=n, collate_fn=collate)) for n in (0, 2))
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.image, b.image)
        assert a.id == b.id


def test_images_of_different_sizes_do_not_make_a_batch():
    with pytest.raises(ImageError, match=r"image b has shape \(1, 3, 3\)"):
        collate([Sample(torch.zeros(1, 2, 2), 0, "a"), Sample(torch.zeros(1, 3, 3), 0, "b")])


@pytest.mark.parametrize("name", ["", ".hidden", "..", "a/b", "a b", "ü", "a\n"])
def test_unsafe_ids_are_refused(name):
    with pytest.raises(InputError, match="may hold only"):
        SampleSet(torch.zeros(1, 1, 2, 2), [0], [name])


def test_repeated_ids_and_missing_targets_are_refused():
    with pytest.raises(InputError, match="'a' occurs twice"):
        SampleSet(torch.zeros(3, 1, 2, 2), [0, 0, 0], ["b", "a", "a"])
    with pytest.raises(InputError, match="1 and 2"):
        SampleSet(torch.zeros(2, 1, 2, 2), [0], ["b", "a"])


def test_augmentation_belongs_to_one_subset_only():
    samples = make(2)
    flipped = samples.subset([0, 1], augment=lambda image: 1 - image)
    torch.testing.assert_close(flipped[0].image, 1 - samples[0].image)


def test_pixel_array():
    pixels = torch.arange(18, dtype=torch.uint8).reshape(2, 1, 3, 3)
    torch.testing.assert_close(PixelArray(pixels, maximum=17)[1], pixels[1] / 17)


@settings(deadline=None)  # no test here depends on how busy the machine is
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=60), st.integers(0, 3))
def test_balanced_order_is_a_permutation_whose_prefixes_are_balanced(targets, seed):
    order = balanced_order(targets, seed)
    assert sorted(order) == list(range(len(targets)))
    assert order == balanced_order(list(targets), seed)
    counts = Counter(targets)
    for length in range(len(targets)):
        seen = Counter(targets[i] for i in order[:length])
        share = {label: (seen[label] + 0.5) / count for label, count in counts.items()}
        # Sorted by (rank + 1/2) / count: what was taken lies at or before what was not.
        taken = max(((seen[label] - 0.5) / counts[label] for label in counts if seen[label]), default=0)
        waiting = min(value for label, value in share.items() if seen[label] < counts[label])
        assert taken <= waiting


def test_balanced_order_never_changes():
    """These numbers are the split of every published result; they must survive every upgrade."""
    assert balanced_order([0, 0, 0, 1, 1, 1, 2, 2, 2]) == [7, 2, 4, 1, 8, 3, 6, 0, 5]


@settings(deadline=None)  # no test here depends on how busy the machine is
@given(st.text(min_size=1, max_size=200))
def test_safe_ids_are_safe(origin):
    name = safe_id(origin)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}", name)


@settings(deadline=None)  # no test here depends on how busy the machine is
@given(st.lists(st.text("aB1._-/ é", min_size=1, max_size=12), min_size=2, max_size=30, unique=True))
def test_safe_ids_do_not_collide(origins):
    assert len({safe_id(origin) for origin in origins}) == len(origins)


def test_safe_ids_do_not_depend_on_how_an_accent_is_encoded():
    assert safe_id("caf\u00e9.png") == safe_id("cafe\u0301.png")


class Toy(ImageDataModule):
    def setup(self, stage):
        targets = [0] * 30 + [1] * 30 + [2] * 30
        self.test_set = SampleSet(torch.rand(90, 1, 2, 2), targets, [f"toy-{i}" for i in range(90)])


def predicted_ids(**options):
    module = Toy(**options)
    module.setup("predict")
    return [name for batch in module.predict_dataloader() for name in batch.id]


def test_max_images_chooses_a_balanced_growing_set_in_the_order_of_the_test_set():
    everything = predicted_ids()
    assert len(everything) == 90
    few, more = predicted_ids(max_images=6), predicted_ids(max_images=12, batch_size=5)
    assert set(few) < set(more)
    assert few == [name for name in everything if name in few]
    assert Counter(int(name[4:]) // 30 for name in few) == {0: 2, 1: 2, 2: 2}
    assert predicted_ids(max_images=1000) == everything


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"num_workers": -1}, {"max_images": 0}])
def test_numbers_out_of_range(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Toy(**bad)


def test_a_missing_set_is_named():
    module = Toy()
    module.setup("fit")
    with pytest.raises(InputError, match="Toy has no training images"):
        module.train_dataloader()
    with pytest.raises(InputError, match="Toy has no validation images"):
        module.val_dataloader()
