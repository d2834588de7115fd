"""Logits taken for those of the noisy images although they are of others, or paid for although they are there."""

import pytest
import torch
from torch import nn

from lit_certattr.attribution import (
    LIME,
    LRP,
    RISE,
    AblationCAM,
    FunctionAttribution,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    MaxLogitGradient,
    Occlusion,
    ProbabilityGradient,
    RegionMap,
    ScoreCAM,
    SmoothGrad,
    input_gradient,
)
from lit_certattr.models import Denoised, SmallCNN
from lit_certattr.regions import Grid
from lit_certattr.smoothing import Draw, GaussianNoise, LogitsRecord, class_votes, note_logits

FREE = (
    Gradient(),
    Gradient(layer="features.0"),
    InputXGradient(),
    GuidedBackprop(),
    ProbabilityGradient(),
    MaxLogitGradient(),
    GradCAM(layer="features.3"),
    GradCAMPlusPlus(layer="features.3"),
    LayerCAM(layer="features.3"),
    AblationCAM(layer="features.3"),
    ScoreCAM(layer="features.3"),
    Occlusion(window=4, stride=4),
    IntegratedGradients(steps=2, layer="features.3"),
    RegionMap(Gradient(), Grid(2)),
)
PAID = (
    IntegratedGradients(steps=2),
    IntegratedGradients(steps=1, baseline=0.5),
    SmoothGrad(Gradient(), GaussianNoise(0.1), draws=2),
    RISE(num_masks=4, cells=2),
    LIME(),
    LRP(),
    FunctionAttribution(lambda model, images, targets: model(images)[:, :1, None] * images[:, 0], name="own"),
)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    network = SmallCNN(image_size=8, width=4).eval().requires_grad_(False)
    network.passes = []
    network.register_forward_hook(lambda module, inputs, _: module.passes.append(len(inputs[0])))
    return network


def draw(net, method, count=3, seed=0):
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(seed))
    noisy = image + 0.1 * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed + 1))
    placed = method.placed(image, "image")
    return Draw(net, noisy.to(memory_format=torch.channels_last), 1, image, 0.1, placed)


@pytest.mark.parametrize("method", FREE, ids=repr)
def test_no_second_pass_where_the_method_computes_the_logits(net, method):
    noisy = draw(net, method)
    assert noisy.maps.shape[0] == 3
    net.passes.clear()
    logits = noisy.logits
    assert net.passes == []
    assert noisy.num_extra == 0
    torch.testing.assert_close(logits, net(noisy.images))
    assert not logits.requires_grad


@pytest.mark.parametrize("method", PAID, ids=repr)
def test_other_methods_pay_one_pass_and_get_the_logits_of_the_noisy_images(net, method):
    noisy = draw(net, method)
    assert noisy.maps.shape[0] == 3
    assert noisy.known_logits is None
    net.passes.clear()
    logits = noisy.logits
    assert net.passes == [3]
    assert noisy.num_extra == 3
    assert noisy.known_logits is logits
    assert torch.equal(logits, net(noisy.images))


@pytest.mark.parametrize("explain_at", ["denoised", "image"])
def test_no_second_pass_behind_a_denoiser(net, explain_at):
    torch.manual_seed(0)
    denoised = Denoised(nn.Conv2d(1, 1, 3, padding=1), net, explain_at).eval().requires_grad_(False)
    noisy = draw(denoised, RegionMap(Gradient(), Grid(2)))
    assert noisy.maps.shape[0] == 3
    net.passes.clear()
    logits = noisy.logits
    assert net.passes == []
    torch.testing.assert_close(logits, denoised(noisy.images))
    copies = draw(denoised, SmoothGrad(Gradient(), GaussianNoise(0.1), draws=2))
    assert copies.maps.shape[0] == 3
    assert copies.known_logits is None


def test_a_score_gives_the_logits_too(net):
    noisy = draw(net, ProbabilityGradient())
    noisy.score = ProbabilityGradient().score
    assert noisy.scores.shape == (3,)
    net.passes.clear()
    torch.testing.assert_close(noisy.logits, net(noisy.images))
    assert net.passes == [3], "of the comparison"


def test_rows_of_the_batch_are_put_together_in_their_order(net):
    images = torch.rand(5, 1, 8, 8)
    with LogitsRecord(net, images) as record:
        for rows in (slice(3, 5), slice(0, 3)):
            Gradient()(net, images[rows], torch.zeros(len(images[rows]), dtype=torch.long))
            assert (record.logits is None) == (rows.start == 3)
    torch.testing.assert_close(record.logits, net(images))


def same_memory_other_images(images):
    """Tensors that share memory with the images and are none of their rows."""
    yield images[::2]
    yield images.transpose(2, 3)
    yield images.view(1, *images.shape[1:3], -1)[:, :, :, : images.shape[3]]
    yield images.reshape(-1)[1 : 1 + images[0].numel()].view(1, *images.shape[1:])
    yield images.view(len(images), 1, 4, 16)
    yield images[:1].expand(len(images), -1, -1, -1)


def test_other_images_are_never_taken_for_those_of_the_record(net):
    images = torch.rand(4, 1, 8, 8)
    another = SmallCNN(image_size=8, width=4).eval()
    with LogitsRecord(net, images) as record:
        for others in (*same_memory_other_images(images), images.clone(), images * 2, images.double(), 1 - images):
            record.add(net, others, torch.zeros(len(others), 10))
        record.add(another, images, torch.zeros(4, 10))
        record.add(net, images, torch.zeros(4))
        record.add(net, images, torch.zeros(5, 10))
        assert record.logits is None
        images.mul_(2)
        input_gradient(net, images, torch.zeros(4, dtype=torch.long))
    assert record.logits is None, "the images were written to"


def test_nothing_is_noted_outside_of_a_record(net):
    images = torch.rand(2, 1, 8, 8)
    with LogitsRecord(net, images) as outer:
        with LogitsRecord(net, images) as inner:
            note_logits(net, images, torch.ones(2, 10))
        assert inner.logits is not None
        assert outer.logits is None
        note_logits(net, images, torch.zeros(2, 10))
    note_logits(net, images, torch.full((2, 10), 5.0))
    assert torch.equal(outer.logits, torch.zeros(2, 10))


def test_a_function_of_the_users_may_hand_its_logits_in(net):
    def own(model, images, targets):
        logits = model(images)
        note_logits(model, images, logits)
        return logits[:, :1, None] * images[:, 0]

    noisy = draw(net, FunctionAttribution(own))
    assert noisy.maps.shape == (3, 8, 8)
    torch.testing.assert_close(noisy.logits, net(noisy.images))
    assert noisy.num_extra == 0


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_ties_and_logits_that_are_not_finite_vote_for_nothing(classes):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randint(-1, 2, (200, classes), generator=generator).float()
    logits[::7, 0], logits[3::11, -1] = torch.nan, torch.inf
    for target in range(classes):
        own, others = class_votes(logits, target)
        for row, one, two in zip(logits.tolist(), own.tolist(), others.tolist(), strict=True):
            rest = row[:target] + row[target + 1 :]
            finite = all(abs(value) < 1e9 for value in row)
            assert one == (finite and all(row[target] > value for value in rest))
            assert two == (finite and any(row[target] < value for value in rest))


def test_a_wrapped_network_is_the_network_it_wraps():
    class Compiled(nn.Module):
        def __init__(self, net):
            super().__init__()
            self._orig_mod = net

        def forward(self, images):
            return self._orig_mod(images)

    net = SmallCNN(image_size=8, width=4).eval()
    images = torch.rand(2, 1, 8, 8)
    with LogitsRecord(Compiled(net), images) as record:
        GradCAM(layer="features.3")(Compiled(net), images, torch.tensor([0, 1]))
    torch.testing.assert_close(record.logits, net(images))
