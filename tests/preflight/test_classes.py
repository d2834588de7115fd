"""Labels and names belong to logits, or the run says that they do not."""

import pytest
import torch

from lit_certattr.data import NO_LABEL, ImageDataModule, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.preflight import accuracy_warning, match_classes
from lit_certattr.preflight.classes import at_chance


class Data(ImageDataModule):
    """Images of the given classes."""

    def __init__(self, class_names):
        super().__init__()
        self.class_names, self.num_classes = class_names, len(class_names)


def samples(targets):
    return SampleSet(torch.rand(len(targets), 1, 2, 2), targets, [f"i{index}" for index in range(len(targets))])


def test_two_folders_beside_a_thousand_logits_name_nothing():
    with pytest.raises(InputError, match=r"the data has 2 classes \(cat, dog\), but Net has 1000 logits.*--class_ind"):
        match_classes(Data(["cat", "dog"]), samples([0, 1]), 1000, "Net")


@pytest.mark.parametrize("targets", [[0, 1], [NO_LABEL, NO_LABEL]])
def test_more_classes_than_logits_are_refused_too(targets):
    with pytest.raises(InputError, match=r"the data has 3 classes .*, but Net has 2 logits"):
        match_classes(Data(["a", "b", "c"]), samples(targets), 2, "Net")


def test_labels_without_names_must_have_a_logit_each():
    with pytest.raises(InputError, match="the data has 6 classes, but Net has 3 logits"):
        match_classes(Data([]), samples([0, 5]), 3, "Net")
    assert match_classes(Data([]), samples([0, 5]), 10, "Net").samples.targets == [0, 5]  # a few images of ten classes


def test_images_without_labels_and_names_go_with_any_network():
    images = samples([NO_LABEL])
    classes = match_classes(Data([]), images, 1000, "Net")
    assert classes.samples is images
    assert classes.names == []


def test_class_indices_bring_labels_and_names_to_their_logits():
    classes = match_classes(Data(["dog", "cat"]), samples([0, 1, NO_LABEL]), 4, "Net", [3, 1])
    assert classes.samples.targets == [3, 1, NO_LABEL]
    assert classes.samples[0].target == 3
    assert classes.names == ["", "cat", "", "dog"]


def test_a_file_of_names_brings_labels_to_their_logits_and_names_the_others(tmp_path):
    (tmp_path / "names.txt").write_text("fish\ncat\nbird\ndog\n")
    classes = match_classes(Data(["dog", "cat"]), samples([0, 1]), 4, "Net", str(tmp_path / "names.txt"))
    assert classes.samples.targets == [3, 1]
    assert classes.names == ["fish", "cat", "bird", "dog"]
    with pytest.raises(InputError, match="Net has no logit 3, it has logits 0 to 2"):
        match_classes(Data(["dog"]), samples([0]), 3, "Net", tmp_path / "names.txt")
    with pytest.raises(InputError, match="the data has no class names"):
        match_classes(Data([]), samples([0]), 4, "Net", tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([1], "must give each of the 2 classes"),
        ([1, 1], "must give each of the 2 classes"),
        ([1, 4], "Net has no logit 4, it has logits 0 to 3"),
        ([-1, 0], "Net has no logit -1"),
    ],
)
def test_class_indices_that_cannot_be_are_refused(indices, message):
    with pytest.raises(InputError, match=message):
        match_classes(Data(["a", "b"]), samples([0, 1]), 4, "Net", indices)


def test_accuracy_at_chance_gets_the_remedy():
    logits = torch.eye(10) * 20
    assert at_chance(logits, list(range(10))) is None
    assert "only 0 of 10 clean labelled images" in at_chance(logits, [9, *range(9)])
    assert "Normalize(mean, std)" in at_chance(logits, [9, *range(9)])


def test_accuracy_far_from_chance_is_no_warning_however_low():
    """3 of 20 right among 1000 classes is poor, and far from chance."""
    logits = torch.zeros(20, 1000)
    labels = list(range(20))
    for index in range(20):
        logits[index, index if index < 3 else 999] = 10
    assert at_chance(logits, labels) is None


def test_a_network_that_is_undecided_gets_the_remedy():
    assert "undecided" in at_chance(0.01 * torch.eye(10), list(range(10)))


class Shifted(torch.nn.Module):
    """Looks up the class of an image in its first pixel, and is wrong by ``shift``; counts its passes."""

    def __init__(self, shift):
        super().__init__()
        self.shift, self.passes = shift, 0

    def forward(self, images):
        self.passes += len(images)
        return 20 * torch.nn.functional.one_hot((images[:, 0, 0, 0] * 10).round().long() + self.shift, 12).float()


def labelled(count):
    targets = [index % 10 for index in range(count)]
    return SampleSet(
        torch.tensor(targets).view(-1, 1, 1, 1).expand(-1, 1, 2, 2) / 10, targets, [f"i{i}" for i in range(count)]
    )


def test_few_images_of_many_are_looked_at():
    network = Shifted(1)
    assert "only 0 of 30 clean labelled images" in accuracy_warning(network, labelled(90))
    assert network.passes == 30
    assert accuracy_warning(Shifted(0), labelled(90)) is None


def test_too_few_images_say_nothing():
    assert accuracy_warning(Shifted(1), labelled(4)) is None
