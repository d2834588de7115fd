"""Images and classes of the wrong kind: one line each, with the remedy, before the network is asked anything."""

import numpy as np
import pytest
import torch
from PIL import Image

from lit_certattr.errors import InputError
from lit_certattr.preflight import check_classes, check_images, check_one_image, check_targets


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 8, 8), np.float32), r"got a NumPy array of float32 \[3, 8, 8\]: use torch.from_numpy\(image\)"),
        (Image.new("RGB", (8, 8)), r"got a PIL image: use torchvision.transforms.functional.to_tensor\(image\)"),
        ([[0.0]], "image must be a torch tensor, got list"),
        (None, "image must be a torch tensor, got NoneType"),
        ("cat.png", "image must be a torch tensor, got str"),
        (torch.rand(8, 8), r"use image.unsqueeze\(0\) for a gray image"),
        (torch.rand(1, 3, 8, 8), r"got a batch \[1, 3, 8, 8\]: use image\[0\]"),
        (torch.rand(2, 3, 8, 8), r"got a batch \[2, 3, 8, 8\]: use a Certifier for several images"),
        (torch.rand(8), r"image must be \[C, H, W\], got \[8\]"),
        (torch.rand(3, 8, 8, device="meta"), "image has no values"),
        (torch.rand(3, 8, 8) * 1j, "image must be real, got torch.complex64"),
    ],
)
def test_what_is_no_image_is_refused_with_the_remedy(image, message):
    with pytest.raises(InputError, match=message) as caught:
        check_one_image(image)
    assert "\n" not in str(caught.value)


def test_a_sparse_image_is_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"must be an ordinary tensor: use image.to_dense\(\)"):
        check_one_image(torch.rand(3, 8, 8).to_sparse())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
            r"float tensor in \[0, 1\], got torch.uint8: use images.float\(\) / 255",
        ),
        (torch.zeros(2, 1, 8, 8, dtype=torch.bool), r"got torch.bool: use images.float\(\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int32), "divided by the largest possible value"),
        ([torch.rand(1, 8, 8)] * 2, r"got a list of tensors: use torch.stack\(images\)"),
        (torch.rand(1, 8, 8), r"use images.unsqueeze\(0\) for one image"),
        (torch.rand(2, 1, 8, 8) * 255, "divide them by the largest possible value, e.g. images / 255"),
        (torch.randn(2, 1, 8, 8) - 1, r"nn.Sequential\(Normalize\(mean, std\), network\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_with_the_remedy(images, message):
    with pytest.raises(InputError, match=message) as caught:
        check_images(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ids", ["ab", [1, 2], ["a", None]])
def test_ids_that_are_no_names_are_refused(ids):
    with pytest.raises(InputError, match="ids must be a list of 2 strings"):
        check_images(torch.rand(2, 1, 4, 4), ids)


def test_images_that_are_fine_pass_as_they_are():
    images = torch.rand(2, 3, 4, 5, requires_grad=True)
    passed = check_images(images, ["a", "b"])
    assert not passed.requires_grad
    assert passed.data_ptr() == images.data_ptr()
    with torch.inference_mode():
        made = torch.rand(1, 1, 4, 4)
    assert not check_images(made).is_inference()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["cat", "dog"], r"use class_names.index\(name\)"),
        ("cat", r"use class_names.index\(name\)"),
        ([1.5, 2.5], "must be 2 class indices, got torch.float32"),
        ([True, False], "must be 2 class indices, got torch.bool"),
        ([1], "must be 2 class indices"),
        (3, "must be 2 class indices"),
        ([None, 1], "must be 2 class indices"),
        ([2**70, 1], "must be 2 class indices"),
    ],
)
def test_what_are_no_class_indices_is_refused(targets, message):
    with pytest.raises(InputError, match=message):
        check_targets(targets, 2)


@pytest.mark.parametrize(
    "targets", [[1, 2], (1, 2), torch.tensor([1, 2]), np.array([1, 2]), torch.tensor([1, 2]).int()]
)
def test_class_indices_may_come_in_any_container(targets):
    assert check_targets(targets, 2) == [1, 2]


def test_an_unknown_class_is_named():
    check_classes([0, 4], 5)
    with pytest.raises(InputError, match="target class 5 is unknown: the network has classes 0 to 4"):
        check_classes([0, 5], 5)
