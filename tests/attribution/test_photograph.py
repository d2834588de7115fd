"""The methods on a photograph and a network with real weights: what they point at is what the class needs."""

import pytest
import torch

from lit_certattr.attribution import LIME, LRP, RISE, AblationCAM, Gradient, MoreauGrad, Occlusion, frozen
from lit_certattr.data import Photographs
from lit_certattr.models import EfficientNetLite0, imagenet_classes
from lit_certattr.smoothing import top_k_mask

pytestmark = pytest.mark.slow

METHODS = [
    Occlusion(window=64, stride=32, channels="sum"),
    Occlusion(window=1, stride=1, fill=0.0, layer="final", channels="sum"),
    RISE(num_masks=150),
    LIME(segments=4, num_samples=150),
    LRP(channels="sum"),
    AblationCAM(),
]


@pytest.fixture(scope="module")
def cat():
    """Network, photograph of a cat that fills it, and its class."""
    photographs = Photographs()
    photographs.setup("predict")
    image = next(sample.image for sample in photographs.predict_set if sample.id == "chelsea")
    network = EfficientNetLite0().eval()
    with torch.no_grad():
        target = int(network(image[None])[0].argmax())
    assert imagenet_classes()[target] == "tiger cat"
    return network, image, target


def left(network, image, target, hidden):
    """Probability of the class when the pixels of a mask are grey."""
    with torch.no_grad():
        return float(network(torch.where(hidden, 0.5, image)[None])[0].softmax(0)[target])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method)[:40])
def test_hiding_what_a_map_ranks_high_costs_more_than_hiding_what_it_ranks_low(cat, method):
    network, image, target = cat
    with frozen(network):
        (map_,) = method(network, image[None], torch.tensor([target]))
    assert torch.isfinite(map_).all()
    quarter = map_.numel() // 4
    high, low = (left(network, image, target, top_k_mask(signed, quarter)) for signed in (map_, -map_))
    assert high < low


def test_an_envelope_with_an_l1_penalty_is_zero_at_most_pixels(cat):
    network, image, target = cat
    method = MoreauGrad(sparsity=0.05, steps=10, average=1, num_samples=2)
    (sparse,) = method(network, image[None], torch.tensor([target]))
    (plain,) = Gradient()(network, image[None], torch.tensor([target]))
    assert float((plain == 0).float().mean()) < 0.01
    assert 0.5 < float((sparse == 0).float().mean()) < 1
