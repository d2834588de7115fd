"""The networks of our own: shapes, what they promise about images, and their arguments."""

import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.models import CifarResNet, EfficientNetLite0, Normalize, SmallCNN


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (SmallCNN(), (1, 28, 28)),
        (SmallCNN(image_size=8), (1, 8, 8)),
        (SmallCNN(in_channels=3, num_classes=4, width=5, image_size=13), (3, 13, 13)),
        (CifarResNet(depth=8), (3, 32, 32)),
        (CifarResNet(depth=14, num_classes=3, in_channels=1, width=4, mean=[0.1], std=[0.3]), (1, 20, 24)),
    ],
)
def test_gives_logits_and_input_gradients(network, shape):
    images = torch.rand(2, *shape, requires_grad=True)
    logits = network(images)
    assert logits.shape == (2, network.num_classes)
    assert network.input_size in (None, shape)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient.shape == images.shape
    assert (gradient != 0).any()


def test_normalize_is_the_first_thing_that_happens():
    network = SmallCNN(mean=[0.5], std=[0.25]).eval()
    images = torch.rand(1, 1, 28, 28)
    expected = network.classifier(network.features((images - 0.5) / 0.25).flatten(1))
    torch.testing.assert_close(network(images), expected)


def test_normalize_travels_in_the_state_dict():
    layer = Normalize([0.0, 0.0], [1.0, 1.0])
    layer.load_state_dict(Normalize([0.1, 0.2], [0.3, 0.4]).state_dict())
    torch.testing.assert_close(layer(torch.tensor([0.1, 0.2]).reshape(1, 2, 1, 1)), torch.zeros(1, 2, 1, 1))


def test_resnet20_has_the_parameters_of_the_paper():
    network = CifarResNet(depth=20)
    assert sum(p.numel() for p in network.parameters()) == 269_722  # table 6: 0.27 M
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 20


def test_small_cnn_is_one_function_in_training_and_evaluation():
    network, images = SmallCNN(), torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(network.train()(images), network.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("build", "culprit"),
    [
        (lambda: Normalize([0.5], [0.0]), "std must be positive"),
        (lambda: Normalize([0.5], [float("nan")]), "std must be positive"),
        (lambda: Normalize([0.5, 0.5], [1.0]), "2 and 1"),
        (lambda: SmallCNN(image_size=3), "image_size"),
        (lambda: SmallCNN(width=0), "width"),
        (lambda: SmallCNN(in_channels=3, mean=(0.1, 0.2), std=(1, 1)), "1 or 3"),
        (lambda: CifarResNet(depth=21), "6n \\+ 2"),
        (lambda: CifarResNet(in_channels=1), "1 or 1"),
    ],
)
def test_bad_arguments(build, culprit):
    with pytest.raises(InputError, match=culprit):
        build()


def test_classes_have_names_where_the_weights_are_those_of_imagenet():
    assert EfficientNetLite0().class_names[282] == "tiger cat"
    assert EfficientNetLite0(weights=None).class_names == []
