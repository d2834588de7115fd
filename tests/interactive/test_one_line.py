"""One line of Python is the certifier of the command line, whatever the images come as."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lit_certattr import Certifier, certify
from lit_certattr.attribution import GradCAM, Gradient, InputXGradient
from lit_certattr.certificates import Claim, CosineCertificate, PixelCertificate, TopKOverlapCertificate
from lit_certattr.data import Sample
from lit_certattr.errors import InputError
from lit_certattr.interactive import CertifiedImage, CertifiedImages
from lit_certattr.models import IMAGENET_MEAN, IMAGENET_STD, Denoised, Normalize, SmallCNN, UNetDenoiser
from lit_certattr.numbers import Gini
from lit_certattr.smoothing import GaussianNoise

BYTES = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(BYTES).permute(0, 3, 1, 2).float() / 255


def network(channels=3, seed=0):
    torch.manual_seed(seed)
    parts = nn.Conv2d(channels, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(144, 5)
    return nn.Sequential(*parts).eval()


NET = network()


def quick(model, images, targets=None, **settings):
    return certify(model, images, targets, **{"num_samples": 60, "progress": False} | settings)


def votes(certified):
    return certified["pixel"].votes


def test_it_is_the_certifier():
    found = quick(NET, PIXELS[0], 3, noise=0.5, num_samples=100, batch_size=20, seed=2)
    certificates = [PixelCertificate(), TopKOverlapCertificate()]
    (run,) = Certifier(Gradient(), GaussianNoise(0.5), certificates, 100, 20, 2)(NET, PIXELS[:1], [3])
    assert isinstance(found, CertifiedImage)
    assert found.keys() == run.keys()
    assert torch.equal(votes(found), run["pixel"].votes)
    assert found["pixel"].sampling == run["pixel"].sampling
    assert found.target == 3
    with torch.no_grad():
        assert found.prediction == int(NET(PIXELS[:1]).argmax())
    assert torch.allclose(found.clean_map, Gradient()(NET, PIXELS[:1], torch.tensor([3]))[0])


def test_an_id_gives_the_noise_of_the_command():
    settings = {"num_samples": 60, "batch_size": 64}
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate()], **settings)
    expected = [one["pixel"].votes for one in certifier(NET, PIXELS, ids=["a", "b"])]
    batch = Sample(PIXELS, torch.tensor([0, 1]), ["a", "b"])
    for found in (quick(NET, PIXELS, ids=["a", "b"]), quick(NET, batch), quick(NET, [Sample(PIXELS[0], 0, "a")])):
        for one, counts in zip(found, expected, strict=False):
            assert torch.equal(votes(one), counts)
    single = quick(NET, Sample(PIXELS[1], 0, "b"))
    assert (single.name, single["pixel"].sampling["image_id"]) == ("b", "b")
    assert torch.equal(votes(quick(NET, PIXELS[1], ids="b")), expected[1])


def test_all_forms_of_an_image_are_one_image(tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(BYTES[0]).save(path)
    forms = path, str(path), Image.open(path), BYTES[0], PIXELS[0], torch.from_numpy(BYTES[0]).permute(2, 0, 1)
    singles = [quick(NET, form) for form in forms]
    assert all(isinstance(one, CertifiedImage) for one in singles)
    mixed = quick(NET, list(forms))
    assert isinstance(mixed, CertifiedImages)
    assert [one.name for one in mixed] == ["one", "one", "image 2", "image 3", "image 4", "image 5"]
    for one in (*singles, *mixed):
        assert torch.equal(votes(one), votes(singles[0]))


def test_a_batch_and_a_list_are_several():
    batch, arrays = quick(NET, PIXELS), quick(NET, BYTES)
    listed = quick(NET, [PIXELS[:1], BYTES[1]])
    assert len(batch) == len(arrays) == len(listed) == 2
    for index in range(2):
        assert torch.equal(votes(batch[index]), votes(arrays[index]))
        assert torch.equal(votes(batch[index]), votes(listed[index]))
    assert len(quick(NET, PIXELS[:1])) == 1
    assert isinstance(quick(NET, PIXELS[:1]), CertifiedImages)
    assert isinstance(batch[:1], CertifiedImages)


def test_normalised_tensors_get_the_remedy_and_the_remedy_works():
    normalised = Normalize(IMAGENET_MEAN, IMAGENET_STD)(PIXELS)
    with pytest.raises(InputError, match=r"image 0: pixels must lie in \[0, 1\], .* normalisation='imagenet'"):
        quick(NET, normalised)
    expected = quick(nn.Sequential(Normalize(IMAGENET_MEAN, IMAGENET_STD), NET), PIXELS)
    for images in (PIXELS, BYTES):  # in [0, 1]: nothing is undone
        for one, two in zip(quick(NET, images, normalisation="imagenet"), expected, strict=True):
            assert torch.equal(votes(one), votes(two))
    undone = quick(NET, normalised, normalisation=(IMAGENET_MEAN, IMAGENET_STD), ids=["a", "b"])
    same = quick(nn.Sequential(Normalize(IMAGENET_MEAN, IMAGENET_STD), NET), PIXELS, ids=["a", "b"])
    for one, two in zip(undone, same, strict=True):
        assert torch.allclose(one.image, two.image, atol=1e-6)
        assert (votes(one) - votes(two)).abs().sum() <= 2  # rounding may move a tie
    with pytest.raises(InputError, match=r"without the normalisation .* give the mean and std that it was"):
        quick(NET, normalised, normalisation=([0.5] * 3, [2.0] * 3))
    with pytest.raises(InputError, match="normalisation must be 'imagenet' or"):
        quick(NET, PIXELS, normalisation="cifar")
    denoised = Denoised(UNetDenoiser(), network())
    with pytest.raises(InputError, match="normalisation belongs behind the denoiser"):
        quick(denoised, PIXELS, normalisation="imagenet")


def test_it_is_never_guessed_whether_an_image_is_normalised():
    normalised = Normalize(IMAGENET_MEAN, IMAGENET_STD)(PIXELS)
    grey = torch.full_like(PIXELS[:1], 0.5)  # before or after a normalisation
    with pytest.raises(InputError, match=r"image 0 lies outside .* and image 1 inside, so one is not normalised"):
        quick(NET, [normalised[0], grey[0]], normalisation="imagenet")
    resized = PIXELS * 1.1 - 0.05  # as bicubic interpolation leaves [0, 1]
    for settings in ({}, {"normalisation": "imagenet"}):
        with pytest.raises(
            InputError, match=r"found -0.04.* to 1.05: clip them, images.clamp\(0, 1\), or, if they are norm"
        ):
            quick(NET, resized, **settings)
    mixed = quick(NET, [normalised[0], BYTES[1]], normalisation="imagenet", ids=["a", "b"])  # bytes never are
    same = quick(NET, PIXELS, normalisation="imagenet", ids=["a", "b"])
    assert torch.allclose(mixed[0].image, same[0].image, atol=1e-6)
    assert torch.equal(votes(mixed[1]), votes(same[1]))


def test_layers_keep_their_names_behind_a_normalisation():
    """In a plain Sequential, "0" would be the normalisation, and "1" the whole network."""
    settings = {"attribution": GradCAM("0"), "certificates": PixelCertificate([0.5])}
    found = quick(NET, PIXELS[0], 2, normalisation="imagenet", **settings)
    network = nn.Sequential(Normalize(IMAGENET_MEAN, IMAGENET_STD), NET)
    assert torch.allclose(found.clean_map, GradCAM("1.0")(network, PIXELS[:1], torch.tensor([2]))[0], atol=1e-6)
    inner = nn.Sequential(nn.Sequential(nn.Identity(), *NET[:2]), *NET[2:])  # "2" is the end of two names
    assert quick(inner, PIXELS[0], normalisation="imagenet", attribution=GradCAM("0.2"))["pixel"] is not None
    assert quick(inner, PIXELS[0], normalisation="imagenet", attribution=GradCAM("1"))["pixel"] is not None


def test_a_bare_network_of_a_library_is_asked_about(caplog):
    net = network()
    Bare = type("ResNet", (nn.Sequential,), {"__module__": "torchvision.models.resnet"})
    with caplog.at_level(logging.WARNING):
        quick(Bare(*net), PIXELS[0], normalisation=False)
        assert not caplog.text
        quick(bare := Bare(*net), PIXELS[0])
        assert "weights of torchvision expect normalised images, but ResNet gets" in caplog.text
        quick(bare, PIXELS[1])
        assert caplog.text.count("expect normalised images") == 1, "once for each network"
        quick(Bare(*net), PIXELS[1])
    assert caplog.text.count("expect normalised images") == 2, "another network is asked about, too"


def test_methods_noise_certificates_and_claims():
    found = quick(
        NET,
        PIXELS[0],
        attribution="input_x_gradient",
        noise=GaussianNoise(0.4),
        certificates=CosineCertificate(),
        claims=Claim("concentrated", Gini(), at_least=0.1),
        num_samples=200,
    )
    assert list(found) == ["cosine", "claims"]
    assert found["cosine"].sampling["attribution"] == repr(InputXGradient())
    assert found["claims"].names == ("concentrated",)
    assert found["cosine"].sigma == 0.4
    coarse = quick(NET, PIXELS[0], certificates={"coarse": PixelCertificate([0.5])})
    assert list(coarse) == ["coarse"]
    with pytest.raises(InputError, match="claims would replace the certificate 'claims'"):
        quick(
            NET,
            PIXELS[0],
            certificates={"claims": PixelCertificate()},
            claims=[Claim("concentrated", Gini(), at_least=0.1)],
        )


@pytest.mark.parametrize(
    "targets", [2, [2, 2], torch.tensor([2, 2]), np.int64(2), np.array([2, 2]), "two", ["two"] * 2]
)
def test_classes_by_number_and_name(targets):
    names = ["zero", "one", "two", "three", "four"]
    found = quick(NET, PIXELS, targets, class_names=names)
    assert [one.target for one in found] == [2, 2]
    assert found[0].explained == "two (2)"


def test_classes_that_do_not_exist():
    with pytest.raises(InputError, match=r"no class 'tow'; did you mean two\?"):
        quick(NET, PIXELS, "tow", class_names=["one", "two"])
    with pytest.raises(InputError, match="2 classes are called 'crane': give the index"):
        quick(NET, PIXELS, "crane", class_names=["crane", "cat", "crane"])
    with pytest.raises(InputError, match="no class 'cat'; give the names of the logits as class_names"):
        quick(NET, PIXELS, "cat")
    with pytest.raises(InputError, match="targets must be 2 class indices"):
        quick(NET, PIXELS, [1])
    with pytest.raises(InputError, match="target class 9 is unknown"):
        quick(NET, PIXELS, 9)
    assert quick(NET, PIXELS[0], "noisy_majority")["pixel"].sampling["target_rule"] == "noisy_majority"


def test_the_network_is_left_as_it_was():
    net = network().train()
    net[0].weight.requires_grad_(False)
    quick(net, PIXELS[0])
    assert net.training
    assert [one.requires_grad for one in net.parameters()] == [False, True, True, True]
    assert all(one.grad is None for one in net.parameters())
    assert not net[0]._forward_hooks


def test_images_take_the_type_of_the_network():
    found = quick(network().double(), BYTES[0])
    assert found["pixel"].sampling["precision"] == "float64"
    assert found.image.dtype == torch.float64


def test_pictures_get_the_size_of_the_network(tmp_path):
    Image.fromarray(BYTES[0]).resize((30, 20)).save(tmp_path / "large.png")
    net = SmallCNN(image_size=12, in_channels=1)
    found = quick(net, tmp_path / "large.png")
    assert found.image.shape == (1, 12, 12)
    assert quick(NET, tmp_path / "large.png", size=9).image.shape == (3, 9, 9)
    assert quick(NET, tmp_path / "large.png").image.shape == (3, 20, 30)


def test_images_that_cannot_be_one_batch(tmp_path):
    small, large = Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))
    with pytest.raises(InputError, match=r"images differ in shape, 3 x 8 x 8 and 3 x 8 x 9: give size=224"):
        quick(NET, [small, large])
    assert len(quick(NET, [BYTES[0], large], size=8)) == 2
    with pytest.raises(InputError, match="image 0 has 1100 x 1000 pixels: give size=224"):
        quick(NET, Image.new("RGB", (1100, 1000)))
    with pytest.raises(InputError, match="a batch of a DataLoader, images and labels"):
        quick(NET, [PIXELS, torch.tensor([0, 1])])
    with pytest.raises(InputError, match="images are empty"):
        quick(NET, [])
    with pytest.raises(InputError, match="image 1 holds NaN or infinite pixels"):
        quick(NET, [PIXELS[0], torch.full((3, 8, 8), torch.nan)])
    with pytest.raises(InputError, match=r"image 0: pixels must lie in \[0, 1\], found 0 to 3: divide"):
        quick(NET, torch.full((3, 8, 8), 3.0).tril())


def test_faults_of_the_network_have_one_line():
    with pytest.raises(InputError, match="model must be a network, got the class SmallCNN"):
        quick(SmallCNN, PIXELS)
    with pytest.raises(InputError, match=r"the network comes first, certify\(network, images\)"):
        quick(PIXELS, NET)
    with pytest.raises(InputError, match=r"got 'resnet18': create one with TorchvisionClassifier\(name\)"):
        quick("resnet18", PIXELS)
    with pytest.raises(InputError, match="its first convolution takes 1 channels, the images have 3"):
        quick(network(channels=1), PIXELS[0])


def test_a_path_is_read_from_anywhere(tmp_path, monkeypatch):
    Image.fromarray(BYTES[0]).save(tmp_path / "one.png")
    monkeypatch.chdir(tmp_path)
    assert quick(NET, "one.png").name == "one"
    assert quick(NET, Path("one.png")).name == "one"


def test_a_misspelt_argument_is_named_with_the_one_that_is_meant():
    with pytest.raises(InputError, match=r"certify has no argument 'target'; did you mean.*targets"):
        quick(NET, PIXELS, target=1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("label", "targets"),
        ("labels", "targets"),
        ("classes", "targets or class_names"),
        ("y", "targets"),
        ("explainer", "attribution"),
        ("sigma", "noise"),
    ],
)
def test_a_name_from_another_library_is_answered_with_that_of_this_one(name, meant):
    with pytest.raises(InputError, match=rf"certify has no argument '{name}'; did you mean {meant}\?"):
        quick(NET, PIXELS, **{name: 1})


def test_names_of_the_classes_are_one_for_each_logit():
    names = ["a", "b", "c", "d", "e"]
    assert quick(NET, PIXELS[0], np.str_("c"), class_names=np.array(names)).explained == "c (2)"
    with pytest.raises(InputError, match="class_names has 4 names, but the network has 5 logits: give one for each"):
        quick(NET, PIXELS[0], class_names=names[:4])
    for wrong in (dict(enumerate(names)), "abcde", [0, 1, 2, 3, 4]):
        with pytest.raises(InputError, match=r"class_names must be a list of strings, .* give \[names\[i\] for i in"):
            quick(NET, PIXELS[0], class_names=wrong)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (PIXELS[0].to_sparse(), r"use image.to_dense\(\)"),
        ("https://example.com/cat.jpg", "image https://example.com/cat.jpg is an address: download it"),
        ("s3://bucket/cat.jpg", "image s3://bucket/cat.jpg is an address: download it"),
        (torch.utils.data.DataLoader(PIXELS), "got DataLoader: give images of it, e.g. next"),
    ],
)
def test_images_of_other_kinds(images, words):
    with pytest.raises(InputError, match=words):
        quick(NET, images)


def test_ids_and_classes_of_other_types():
    with pytest.raises(InputError, match="ids must be a list of 1 strings, got 3"):
        quick(NET, PIXELS[0], ids=3)
    with pytest.raises(InputError, match=r"class indices, got torch.float32 .*: use whole numbers"):
        quick(NET, PIXELS[0], 2.0)
    with pytest.raises(InputError, match=r"of one-hot vectors give targets.argmax\(1\)"):
        quick(NET, PIXELS, nn.functional.one_hot(torch.tensor([2, 1]), 5))
