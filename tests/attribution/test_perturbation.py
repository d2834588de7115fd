"""Occlusion, RISE and LIME against slow loops, Captum, scikit-learn and closed forms."""

import copy
import pickle

import networks
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr import Lime as CaptumLime
from captum.attr import Occlusion as CaptumOcclusion
from oracles.perturbation import lime, occlusion, rise, rise_masks
from sklearn.linear_model import Ridge
from torch import nn

from lit_certattr.attribution import LIME, RISE, Occlusion
from lit_certattr.attribution.fixed import Fixed, uniforms
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN

TARGETS = torch.tensor([0, 2, 1])


@pytest.fixture
def net():
    torch.manual_seed(5)
    return SmallCNN(3, 4, 8, 12, (0.5,), (0.3,)).double().eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 12, dtype=torch.float64)


@pytest.fixture
def linear():
    torch.manual_seed(6)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4)).double()


def per_image(oracle, net, images, *arguments):
    return torch.stack(
        [oracle(net, image, int(target), *arguments) for image, target in zip(images, TARGETS, strict=True)]
    )


# Occlusion ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "stride", "fill", "score"),
    [((4, 4), (2, 2), 0.5, "logit"), ((5, 3), (2, 3), 0.0, "softmax"), ((12, 12), (1, 1), 1.0, "logit")],
)
def test_occlusion_equals_the_loop(net, images, window, stride, fill, score):
    expected = per_image(occlusion, net, images, window, stride, fill, score)
    signed = Occlusion(window, stride, fill, score, channels="sum")(net, images, TARGETS)
    torch.testing.assert_close(signed, expected)
    torch.testing.assert_close(Occlusion(window, stride, fill, score)(net, images, TARGETS), expected.abs())


@pytest.mark.parametrize("family", ["small cnn", "torchvision resnet"])
def test_occlusion_equals_captum(family):
    net, batch = networks.network(family), networks.images()
    found = Occlusion(window=24, stride=13, fill=0.25, channels="sum")(net, batch, TARGETS)
    with torch.no_grad():
        captum = CaptumOcclusion(net).attribute(batch, (3, 24, 24), (3, 13, 13), 0.25, TARGETS)
    torch.testing.assert_close(found, captum[:, 0], rtol=1e-4, atol=1e-5)


def test_occlusion_of_a_linear_network_is_closed(linear, images):
    """Windows of one pixel: weight times what the pixel has beyond the fill, summed over the channels."""
    weight = linear[1].weight[TARGETS].view_as(images)
    found = Occlusion(window=1, stride=1, fill=0.25, channels="sum")(linear, images, TARGETS)
    torch.testing.assert_close(found, (weight * (images - 0.25)).sum(1).detach())
    # Windows that tile the image are complete: window means times window sizes add up to the whole difference.
    tiled = Occlusion(window=4, stride=4, fill=0.25, channels="sum")(linear, images, TARGETS)
    whole = (linear(images) - linear(torch.full_like(images, 0.25))).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(tiled.sum((1, 2)) / 16, whole.detach())


# RISE -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cells", "keep", "size"), [(3, 0.5, (12, 12)), (4, 0.2, (11, 17)), (7, 0.1, (8, 30))])
def test_masks_are_a_bilinear_resize_of_the_grids(cells, keep, size):
    method = RISE(40, cells, keep, seed=3)
    expected = rise_masks(uniforms(3, 40, cells**2 + 2), cells, keep, *size)
    torch.testing.assert_close(method.masks(*size, dtype=torch.float64), expected)
    torch.testing.assert_close(method.masks(*size, slice(5, 9), torch.float64), expected[5:9])


@pytest.mark.parametrize(("fill", "score"), [(0.0, "softmax"), (0.7, "logit")])
def test_rise_equals_the_loop(net, images, fill, score):
    method = RISE(30, 4, 0.4, fill, score, seed=1)
    masks = rise_masks(uniforms(1, 30, 18), 4, 0.4, 12, 12)
    torch.testing.assert_close(method(net, images, TARGETS), per_image(rise, net, images, masks, 0.4, fill, score))


def test_rise_of_a_linear_network_is_closed(linear, images):
    """With f(x) = w.x + b the map is M^T (M (w x) + b) / (N p): one matrix of the masks."""
    found = RISE(50, 3, score="logit")(linear, images, TARGETS)
    masks = RISE(50, 3).masks(12, 12, dtype=torch.float64).flatten(1)
    products = (linear[1].weight[TARGETS].view_as(images) * images).sum(1).flatten(1)
    scores = products @ masks.T + linear[1].bias[TARGETS][:, None]
    torch.testing.assert_close(found, (scores @ masks / (50 * 0.5)).view_as(found).detach())


def test_every_pixel_is_seen_with_the_same_probability():
    """Bilinear weights add up to one, so the mean of the masks is ``keep`` everywhere, up to the sampling error."""
    masks = RISE(4000, 5, keep=0.3).masks(20, 20)
    assert 0 <= masks.min() <= masks.max() <= 1
    error = (masks.mean(0) - 0.3).abs().max()
    assert error < 5 * (0.3 * 0.7 / 4000) ** 0.5


def test_a_constant_score_gives_the_mean_mask(images):
    """The published normalisation: a score of one everywhere gives about one everywhere."""

    class Constant(nn.Module):
        def forward(self, batch):
            return torch.stack([batch.sum((1, 2, 3)) * 0, torch.full_like(batch[:, 0, 0, 0], -50)], 1)

    found = RISE(2000, 4, keep=0.5)(Constant(), images, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(found, torch.ones_like(found), atol=0.1, rtol=0)


# LIME -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segments", "fill", "score"),
    [(4, None, "softmax"), (3, 0.5, "logit"), ((torch.arange(144).view(12, 12) % 5).tolist(), None, "logit")],
)
def test_lime_equals_weighted_ridge_regression(net, images, segments, fill, score):
    chosen = {"segments": segments} if isinstance(segments, int) else {"segmentation": segments}
    method = LIME(**chosen, num_samples=60, kernel_width=0.4, ridge=0.7, fill=fill, score=score, seed=2)
    labels = method.superpixels(12, 12)
    shown = method.perturbations(int(labels.max()) + 1)
    expected = per_image(lime, net, images, labels, shown, 0.4, 0.7, fill, score)
    torch.testing.assert_close(method(net, images, TARGETS), expected)


class _Ridge(SkLearnLasso):
    """Captum asks the surrogate to train itself on a loader of (perturbed, score, weight)."""

    def __init__(self, alpha):
        super().__init__(alpha=alpha)
        self.alpha = alpha

    def fit(self, train_data, **kwargs):
        z, scores, weights = (torch.cat(parts).double().numpy() for parts in zip(*train_data, strict=True))
        self.ridge = Ridge(alpha=self.alpha).fit(z, scores.squeeze(), sample_weight=weights)
        return {"train_time": 0.0}

    def representation(self):
        return torch.from_numpy(self.ridge.coef_)[None]


@pytest.mark.parametrize("family", ["small cnn", "torchvision resnet"])
def test_lime_equals_captum_with_the_same_perturbations(family):
    net, batch = networks.network(family), networks.images()
    method = LIME(segments=4, num_samples=40, kernel_width=0.5, fill=0.5, score="logit")
    labels = method.superpixels(64, 64)
    drawn = iter(method.perturbations(16))

    def weight(original, perturbed, interpretable, **kwargs):
        return torch.exp(-((1 - interpretable.double().mean().sqrt()) ** 2) / (2 * 0.5**2))

    captum = CaptumLime(
        net, _Ridge(1.0), similarity_func=weight, perturb_func=lambda *_, **__: next(drawn)[None].long()
    )
    expected = captum.attribute(
        batch[:1], 0.5, int(TARGETS[0]), feature_mask=labels[None, None], n_samples=40, return_input_shape=True
    )
    found = method(net, batch[:1], TARGETS[:1])
    torch.testing.assert_close(found.double(), expected[:, 0].double(), rtol=1e-3, atol=1e-5)


def test_lime_of_a_linear_network_is_closed(linear, images):
    """Without a penalty the surrogate is exact: a coefficient is what its superpixel adds to the logit."""
    method = LIME(3, 200, ridge=1e-9, fill=0.25, score="logit")
    labels = method.superpixels(12, 12)
    products = (linear[1].weight[TARGETS].view_as(images) * (images - 0.25)).sum(1)
    sums = torch.stack([(products * (labels == label)).sum((1, 2)) for label in range(9)], 1)
    torch.testing.assert_close(method(linear, images, TARGETS), sums[:, labels].detach(), rtol=1e-6, atol=1e-7)


def test_the_grid_of_superpixels_covers_any_size():
    labels = LIME(segments=3).superpixels(10, 7)
    assert labels.unique().tolist() == list(range(9))
    assert labels.flatten().bincount().max() <= 4 * 3
    assert (labels[:, 1:] >= labels[:, :-1]).all()


def test_the_first_perturbed_image_is_the_image():
    shown = LIME().perturbations(49)
    assert shown.shape == (1000, 49)
    assert shown[0].all()
    assert abs(float(shown[1:].double().mean()) - 0.5) < 0.01


# What all three promise -----------------------------------------------------------------------------------------------

METHODS = [
    Occlusion(5, 2),
    RISE(37, 3),
    RISE(37, 3, score="logit", channels="abs_sum"),
    LIME(3, 41),
    LIME(2, 9, fill=0.5),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("max_batch", [1, 2, 5, 64, None])
def test_the_budget_does_not_matter(net, images, method, max_batch):
    expected = method(net, images, TARGETS)
    limited = copy.copy(method)
    limited.max_batch = max_batch
    torch.testing.assert_close(limited(net, images, TARGETS), expected)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_copies_and_pickles_give_the_same_map_and_carry_no_masks(net, images, method):
    expected = method(net, images, TARGETS)
    small = len(pickle.dumps(method))
    assert small < 1000
    for twin in (pickle.loads(pickle.dumps(method)), copy.deepcopy(method)):
        assert all(not value for value in vars(twin).values() if isinstance(value, Fixed))
        assert repr(twin) == repr(method)
        assert torch.equal(twin(net, images, TARGETS), expected)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_half_precision_images_get_float32_maps(net, images, method):
    net, images = net.float(), images.float()
    exact = method(net, images, TARGETS)
    rough = method(net.bfloat16(), images.bfloat16(), TARGETS)
    assert rough.dtype == torch.float32
    assert np.corrcoef(exact.flatten(), rough.flatten())[0, 1] > 0.8


@pytest.mark.parametrize("seeded", [RISE, LIME])
def test_the_seed_decides(net, images, seeded):
    size = {"num_masks": 30} if seeded is RISE else {"num_samples": 30, "segments": 3}
    first = seeded(seed=1, **size)(net, images, TARGETS)
    torch.manual_seed(99)
    assert torch.equal(seeded(seed=1, **size)(net, images, TARGETS), first)
    assert not torch.equal(seeded(seed=2, **size)(net, images, TARGETS), first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Occlusion(window=4, stride=5), "stride must be at least 1 and at most the window"),
        (lambda: Occlusion(stride=0), "stride must be at least 1"),
        (lambda: Occlusion(fill=-0.1), "fill must be a grey level"),
        (lambda: Occlusion(score="margin"), "score must be one of softmax, logit"),
        (lambda: Occlusion(max_batch=0), "max_batch must be at least 1"),
        (lambda: RISE(num_masks=0), "num_masks and cells must be at least 1"),
        (lambda: RISE(keep=1.0), "keep must lie in"),
        (lambda: RISE(fill=2.0), "fill must be a grey level"),
        (lambda: LIME(num_samples=1), "num_samples must be at least 2"),
        (lambda: LIME(ridge=0.0), "kernel_width and ridge must be positive"),
        (lambda: LIME(segments=0), "segments must be at least 1"),
        (lambda: LIME(segmentation=[0, 1]), r"segmentation must be whole numbers \[H, W\]"),
        (lambda: LIME(segmentation=[[0.5]]), r"segmentation must be whole numbers \[H, W\]"),
        (lambda: LIME(segmentation=[[0, 1], [0]]), "segmentation must be rows of labels, all of one length"),
        (lambda: LIME(segmentation=[[0, 2]]), "segmentation must have the labels 0, 1, ..., got 0 to 2 with gaps"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Occlusion(window=13, stride=1), r"window of \(13, 13\) does not fit into the 12 x 12 of layer 'input'"),
        (LIME(segments=13), "images of 12 x 12 have no 13 x 13 superpixels"),
        (LIME(segmentation=torch.zeros(4, 4, dtype=torch.int).tolist()), r"the segmentation is for images of \(4, 4\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(net, images, method, message):
    with pytest.raises(InputError, match=message):
        method(net, images, TARGETS)


def test_a_segmentation_is_recorded():
    one, other = (LIME(segmentation=(torch.arange(6).view(2, 3) % k).tolist()) for k in (2, 3))
    assert "segmentation='2 of 2 x 3 pixels, sha256" in repr(one)
    assert repr(one) != repr(other)
