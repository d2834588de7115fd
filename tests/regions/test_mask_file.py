"""One mask for all images."""

import numpy as np
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.regions import MaskFile


def test_all_images_have_the_regions_of_the_file(tmp_path):
    np.save(tmp_path / "parts.npy", np.array([[0, 7], [3, 3]]))
    rule = MaskFile(str(tmp_path / "parts.npy"))
    for image_id in ("cat", "dog"):
        labels, numbers = rule.numbered(torch.rand(1, 4, 4), image_id)
        assert labels[::2, ::2].tolist() == [[-1, 1], [0, 0]]
        assert numbers == [3, 7]
    assert MaskFile(str(tmp_path / "parts.npy"), background=True)(torch.rand(1, 2, 2), "cat").tolist() == [
        [0, 2],
        [1, 1],
    ]
    assert not rule.of_image
    assert "parts.npy" in rule.in_words()


def test_what_is_no_mask_is_refused(tmp_path):
    image = torch.zeros(1, 4, 4)
    with pytest.raises(InputError, match=r"mask file .*missing.png does not exist; give the path"):
        MaskFile(str(tmp_path / "missing.png"))(image, "cat")
    np.save(tmp_path / "wide.npy", np.ones((2, 4), int))
    with pytest.raises(InputError, match="another aspect ratio"):
        MaskFile(str(tmp_path / "wide.npy"))(image, "cat")
    for settings in ({"path": 3}, {"path": "x.npy", "background": 1}):
        with pytest.raises(InputError):
            MaskFile(**settings)
