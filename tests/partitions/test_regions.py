"""What every rule of regions is held to."""

import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions, same_partition


class Rule(Regions):
    """Gives what it is told to, or fails."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, image, image_id):
        if self.answer == "fail":
            raise RuntimeError("no\nluck")
        return torch.tensor(self.answer)


def test_an_answer_is_checked_and_a_failure_names_the_image():
    image = torch.zeros(1, 1, 2)
    assert Rule([[0, 1]]).divide(image, "cat").tolist() == [[0, 1]]
    with pytest.raises(InputError, match="Rule cannot divide image cat: RuntimeError: no luck"):
        Rule("fail").divide(image, "cat")
    with pytest.raises(InputError, match="region 0 of image cat is empty"):
        Rule([[1, 1]]).divide(image, "cat")


def test_partitions_are_the_same_only_if_all_labels_are():
    one = torch.tensor([[0, 1]])
    assert same_partition(one, one.clone())
    assert same_partition(None, None)
    assert not same_partition(one, None)
    assert not same_partition(None, one)
    assert not same_partition(one, one.flip(1))
