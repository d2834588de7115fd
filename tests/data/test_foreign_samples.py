"""Samples of data sets from outside the package: what is converted, and what is refused with which remedy."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lit_certattr.data.foreign_samples import BatchesAsSamples, ForeignSamples, class_of
from lit_certattr.data.sample import ImageError

IMAGE = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


def only(sample, **options):
    return ForeignSamples([sample], "test", **options)[0]


def test_a_tuple_is_image_label_and_perhaps_id():
    assert only((IMAGE, 3)).target == 3
    assert only((IMAGE, 3)).id == "test-00000"
    assert only((IMAGE, 3, "my cat.png")).id == "my_cat.png-1a1dad87"
    assert only((IMAGE, 3, 17)).id == "17"
    assert only(IMAGE).target == -1
    assert torch.equal(only([IMAGE.double(), torch.tensor(3)]).image, IMAGE.double().float())


def test_ids_without_ids_are_those_of_the_data_set_also_in_a_part_of_it():
    samples = ForeignSamples([(IMAGE, 0)] * 9, "val", indices=[3, 7])
    assert [samples[index].id for index in range(len(samples))] == ["val-00003", "val-00007"]


def test_a_mapping_needs_the_names_of_its_fields():
    sample = {"pixels": IMAGE, "y": 2, "path": "a"}
    with pytest.raises(ImageError, match=r"is a mapping with pixels, y, path.*fields=\[image,label\]"):
        only(sample)
    assert only(sample, fields=["pixels", "y", "path"])[1:] == (2, "a")
    with pytest.raises(ImageError, match="has no 'label'"):
        only(sample, fields=["pixels", "label"])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ((IMAGE - 0.5) / 0.25, r"pixels from -\S+ to \S+, not in \[0, 1\].*leave Normalize out.*models\.Normalized"),
        (IMAGE * 255, r"pixels up to 25.*divide by the largest possible value.*if they are normalised"),
        ((IMAGE * 255).byte(), r"torch\.uint8.*ToDtype"),
        (Image.new("RGB", (8, 8)), r"PIL image.*ToImage"),
        (IMAGE.numpy(), r"NumPy array of float32 \(3, 8, 8\)"),
        (IMAGE[0], r"image\[None\]"),
        (IMAGE.permute(1, 2, 0), r"channels must come first, image\.permute\(2, 0, 1\)"),
        (IMAGE * float("nan"), "NaN or infinite"),
        (IMAGE[None], r"shape \(1, 3, 8, 8\), not \[C, H, W\]"),
    ],
)
def test_images_of_another_kind_are_refused_with_the_remedy(image, said):
    with pytest.raises(ImageError, match=said):
        only((image, 0))


def test_images_of_several_sizes_are_refused():
    samples = ForeignSamples([(IMAGE, 0), (IMAGE[:, :6], 1)], "test")
    assert samples[0].target == 0
    with pytest.raises(ImageError, match=r"test image 1 has shape \(3, 6, 8\).*Resize and CenterCrop"):
        samples[1]


@pytest.mark.parametrize(
    "label", [2, np.int64(2), torch.tensor(2), [0, 0, 1.0], torch.eye(4)[2], torch.eye(4).bool()[2]]
)
def test_labels_are_indices_or_one_hot(label):
    assert class_of(label, "it") == 2


@pytest.mark.parametrize("label", [[0.1, 0.9], [0, 0], [1, 1], "cat", 2.0, -3, torch.eye(3)])
def test_other_labels_are_refused(label):
    with pytest.raises(ImageError, match="label of it"):
        class_of(label, "it")


def test_batches_of_a_training_loader_become_samples_in_worker_processes_too():
    data = [(IMAGE, torch.eye(5)[index % 5]) for index in range(4)]
    for workers in (0, 1):
        loader = DataLoader(data, batch_size=4, num_workers=workers)
        loader.collate_fn = BatchesAsSamples(loader.collate_fn)
        (batch,) = loader
        assert batch.image.shape == (4, 3, 8, 8)
        assert batch.target.tolist() == [0, 1, 2, 3]
        assert batch.id == []
    with pytest.raises(ImageError, match=r"one batch.*one size"):
        BatchesAsSamples(loader.collate_fn.collate)([(IMAGE, 0), (IMAGE[:, :6], 1)])
    with pytest.raises(ImageError, match="training batch has pixels from -"):
        BatchesAsSamples(loader.collate_fn.collate)([(-IMAGE, 0)])
