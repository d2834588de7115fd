"""What every rule of regions is held to."""

import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.numbers import RegionMask
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


def test_a_rule_that_uses_its_tensor_again_changes_no_earlier_answer():
    rule = Rule(None)
    buffer = torch.zeros(1, 2, dtype=torch.int64)
    rule.__class__ = type("Reusing", (Rule,), {"__call__": lambda self, image, image_id: buffer})
    buffer[:] = torch.tensor([0, 1])
    first = rule.divide(torch.zeros(1, 1, 2), "a")
    buffer[:] = torch.tensor([1, 0])
    assert first.tolist() == [[0, 1]]
    assert rule.divide(torch.zeros(1, 1, 2), "b").tolist() == [[1, 0]]


def test_a_rule_that_writes_into_its_image_changes_only_a_copy():
    rule = type("Writing", (Rule,), {"__call__": lambda self, image, image_id: image.zero_()[0].long()})(None)
    image = torch.ones(1, 1, 2)
    rule.divide(image, "cat")
    RegionMask(rule).placed(image, "cat")
    assert image.tolist() == [[[1.0, 1.0]]]
