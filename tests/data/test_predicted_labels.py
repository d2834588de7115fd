"""Labels that a network predicts: of the clean images, without augmentation, whatever labels the data have."""

import pytest
import torch
from torch import nn

from lit_certattr.data import NO_LABEL, ImageDataModule, PredictedLabels, SampleSet
from lit_certattr.errors import InputError


class Bright(ImageDataModule):
    """Channel ``c`` of image ``c`` is bright; training images are augmented by turning their channels round."""

    def __init__(self, shape=(3, 2, 2)):
        super().__init__(batch_size=2)
        self.num_classes, self.class_names, self.image_shape = 0, [], shape
        self.setups = 0

    def setup(self, stage):
        self.setups += 1
        images = torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2).clone()
        samples = SampleSet(images, [NO_LABEL, 0, 7], ["a", "b", "c"])
        self.train_set = samples.subset([2, 0], augment=lambda image: image.flip(0))
        self.val_set = samples.subset([1])

    def state_dict(self):
        return {"white_level": 7.0}


class Channels(nn.Module):
    """Logit ``c`` is the sum of channel ``c``, times a factor."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor, self.norm = nn.Parameter(torch.tensor(factor)), nn.BatchNorm2d(3, affine=False)

    def forward(self, images):
        return self.factor * self.norm(images).sum((2, 3))


def test_labels_are_the_predictions_for_images_that_are_not_augmented():
    data = PredictedLabels(Bright(), Channels())
    data.setup("fit")
    assert (data.train_set.targets, data.val_set.targets, data.test_set) == ([2, 0], [1], None)
    assert data.num_classes == 3
    assert data.batch_size == 2
    image, target, name = data.train_set[0]
    assert image[:, 0, 0].tolist() == [1, 0, 0]  # augmentation stays: the bright channel 2 is now the first
    assert (target, name) == (2, "c")


def test_the_network_is_left_as_it_was():
    network = Channels().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    PredictedLabels(Bright(), network).setup("fit")
    assert network.training
    assert network.factor.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_labels_are_predicted_once():
    data = PredictedLabels(Bright(), Channels())
    data.setup("fit")
    targets = data.train_set.targets
    data.network.factor.data *= -1  # as training may do, if it is the same object
    data.setup("validate")
    assert data.train_set.targets is targets
    assert data.data.setups == 1


def test_the_state_is_that_of_the_data():
    assert PredictedLabels(Bright(), Channels()).state_dict() == {"white_level": 7.0}


def test_a_network_for_another_size_is_refused_with_the_remedy():
    network = Channels()
    network.input_size = (3, 4, 4)
    with pytest.raises(InputError, match=r"takes \(3, 4, 4\): set size of the data to 4"):
        PredictedLabels(Bright(), network).setup("fit")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Channels(float("nan")), "returns NaN or infinite logits, which give no labels"),
        (nn.Identity(), r"must return logits \[2, num_classes\] to give labels, got \[2, 3, 2, 2\]"),
    ],
)
def test_a_network_that_gives_no_labels_is_refused(network, message):
    with pytest.raises(InputError, match=message):
        PredictedLabels(Bright(), network).setup("fit")
