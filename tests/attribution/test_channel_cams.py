"""Score-CAM, Ablation-CAM and occlusion of features against pytorch-grad-cam and against loops over the channels."""

import copy

import networks
import numpy as np
import pytest
import torch
from pytorch_grad_cam import AblationCAM as PeerAblationCAM
from pytorch_grad_cam import ScoreCAM as PeerScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

from lit_certattr.attribution import AblationCAM, Occlusion, ScoreCAM, layer_pass
from lit_certattr.errors import InputError

TARGETS = torch.tensor([0, 3, 6])
LAYERS = {"torchvision vgg": "features.7", "small cnn": "features.5"}
METHODS = [
    ScoreCAM(relu=False),
    ScoreCAM(relu=False, score="softmax"),
    AblationCAM(relu=False),
    AblationCAM(relu=False, score="softmax"),
    Occlusion(3, 2, 0.0, layer="final", channels="sum"),
]


@pytest.fixture
def images():
    return networks.images().double()


def exact(family):
    return copy.deepcopy(networks.network(family)).double()


def their_weights(peer, net, layer, images, monkeypatch):
    # Their masks are resized with aligned corners, ours with half-pixel centres.
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size, mode="bilinear"))
    module = net.get_submodule(layer)
    features = layer_pass(net, layer, images).features.detach().numpy()
    targets = [ClassifierOutputTarget(target) for target in TARGETS.tolist()]
    with torch.random.fork_rng(), peer(net, [module]) as other:
        return features, other.get_cam_weights(images, module, targets, features, None)


@pytest.mark.parametrize(("family", "layer"), LAYERS.items())
def test_score_cam_equals_pytorch_grad_cam(images, family, layer, monkeypatch):
    net = exact(family)
    features, weights = their_weights(PeerScoreCAM, net, layer, images, monkeypatch)
    expected = np.einsum("bc,bchw->bhw", weights, features)
    found = ScoreCAM(layer, relu=False, upsample=False)(net, images, TARGETS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("family", "layer"), LAYERS.items())
def test_ablation_cam_equals_pytorch_grad_cam(images, family, layer, monkeypatch):
    """Up to the sign where the logit is negative, and in the float32 of its scores."""
    net = exact(family)
    features, weights = their_weights(PeerAblationCAM, net, layer, images, monkeypatch)
    sign = net(images).gather(1, TARGETS[:, None]).sign().detach().numpy()
    expected = np.einsum("bc,bchw->bhw", weights * sign, features)
    found = AblationCAM(layer, relu=False, upsample=False)(net, images, TARGETS)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def score(logits, target, kind):
    return (logits.softmax(0) if kind == "softmax" else logits)[target]


def score_cam_loop(net, image, target, kind):
    features = layer_pass(net, "final", image[None]).features[0]
    scores = []
    for channel in features:
        mask = F.interpolate(channel[None, None], image.shape[1:], mode="bilinear")[0, 0]
        mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else 0 * mask
        scores.append(score(net((image * mask)[None])[0], target, kind))
    return torch.einsum("c,chw->hw", torch.stack(scores).softmax(0), features)


def ablation_cam_loop(net, image, target, kind):
    at = layer_pass(net, "final", image[None])
    whole, total = score(at.logits[0], target, kind), 0
    for index in range(at.features.shape[1]):
        without = at.features.clone()
        without[:, index] = 0
        total = total + (whole - score(at.head(without)[0], target, kind)) * at.features[0, index]
    return total / whole.abs()


@pytest.mark.parametrize("kind", ["logit", "softmax"])
@pytest.mark.parametrize(("method", "loop"), [(ScoreCAM, score_cam_loop), (AblationCAM, ablation_cam_loop)])
@pytest.mark.parametrize("family", ["torchvision vgg", "small cnn", "torchvision vit"])
def test_channel_by_channel(images, family, method, loop, kind):
    net = exact(family)
    with torch.no_grad():
        expected = torch.stack([loop(net, image, target, kind) for image, target in zip(images, TARGETS, strict=True)])
    signed = method(relu=False, upsample=False, score=kind)(net, images, TARGETS)
    torch.testing.assert_close(signed, expected)
    large = F.interpolate(expected.relu()[:, None], (64, 64), mode="bilinear")[:, 0]
    torch.testing.assert_close(method(score=kind)(net, images, TARGETS), large)


def test_behind_pooling_and_a_linear_layer_ablation_cam_is_cam(images):
    """w_k is then the class weight times the mean of the channel, over the logit."""
    net = exact("cifar resnet")
    at = layer_pass(net, "final", images)
    weights = net.classifier.weight[TARGETS] * at.features.mean((2, 3))
    weights = weights / at.logits.gather(1, TARGETS[:, None]).abs()
    expected = torch.einsum("bc,bchw->bhw", weights, at.features).detach()
    torch.testing.assert_close(AblationCAM(relu=False, upsample=False)(net, images, TARGETS), expected)


@pytest.mark.parametrize("family", ["torchvision vgg", "torchvision vit"])
def test_occlusion_of_features_equals_the_loop(images, family):
    net = exact(family)
    at = layer_pass(net, "final", images)
    height, width = at.features.shape[-2:]
    total, count = torch.zeros(3, height, width, dtype=torch.float64), torch.zeros(height, width)
    with torch.no_grad():
        for top in range(0, height - 1, 2):
            for left in range(0, width - 1, 2):
                hidden = at.features.clone()
                hidden[:, :, top : top + 3, left : left + 3] = -0.5
                drop = (at.logits - at.head(hidden)).gather(1, TARGETS[:, None])
                total[:, top : top + 3, left : left + 3] += drop[:, :, None]
                count[top : top + 3, left : left + 3] += 1
    method = Occlusion(3, 2, -0.5, channels="sum", layer="final", upsample=False)
    torch.testing.assert_close(method(net, images, TARGETS), (total / count).detach())


def test_a_constant_channel_hides_everything(images):
    """It has no minimum and maximum to scale between: its mask is black, not undefined."""

    class Half(nn.Module):
        def forward(self, batch):
            return torch.cat([batch, torch.full_like(batch[:, :1], 0.3)], 1)

    net = nn.Sequential(Half(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7)).double()
    maps = ScoreCAM("0")(net, images, TARGETS)
    assert torch.isfinite(maps).all()


def test_a_score_of_zero_divides_by_one(images):
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8192, 7)).double()
    nn.init.zeros_(net[3].weight)
    nn.init.zeros_(net[3].bias)
    assert (AblationCAM("1")(net, images, TARGETS) == 0).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method)[:60])
@pytest.mark.parametrize("family", ["torchvision vgg", "torchvision vit"])
@pytest.mark.parametrize("max_batch", [1, 7, None])
def test_the_budget_does_not_matter(images, family, method, max_batch):
    net = exact(family)
    expected = method(net, images, TARGETS)
    limited = copy.copy(method)
    limited.max_batch = max_batch
    torch.testing.assert_close(limited(net, images, TARGETS), expected)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method)[:60])
def test_gradient_modes_and_graphs_do_not_matter(images, method):
    net = exact("torchvision vgg")
    expected = method(net, images, TARGETS)
    assert not expected.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(method(net, images * 1, TARGETS + 0), expected)
        torch.testing.assert_close(method(net, images * 1, TARGETS + 0, create_graph=True), expected)
    z = images[:1].clone().requires_grad_(True)
    (derivative,) = torch.autograd.grad(method(net, z, TARGETS[:1], create_graph=True).square().sum(), z)
    step = 1e-6 * torch.randn_like(z)
    ends = [method(net, (z + sign * step).detach(), TARGETS[:1]).square().sum() for sign in (1, -1)]
    torch.testing.assert_close((derivative * step).sum(), (ends[0] - ends[1]) / 2, rtol=1e-3, atol=1e-12)


def test_settings_are_checked(images):
    for method in (ScoreCAM, AblationCAM):
        with pytest.raises(InputError, match="score must be one of"):
            method(score="margin")
        with pytest.raises(InputError, match="max_batch must be at least 1"):
            method(max_batch=0)
    with pytest.raises(InputError, match=r"window of \(16, 16\) does not fit into the 2 x 2 of layer 'final'"):
        Occlusion(layer="final")(networks.network("timm resnet"), networks.images(), TARGETS)
