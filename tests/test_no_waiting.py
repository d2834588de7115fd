"""The sampling loop never asks the device for a value: it would stand still until everything before is done.

What stops an accelerator is looked for on a CPU: calls from Python that hand over values, and operations whose shape is
made of values. Copies between devices are what ``tests/attribution/test_matrix.py`` looks for, on meta tensors.
"""

from collections.abc import Iterable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lit_certattr.attribution import (
    CAM,
    LIME,
    LRP,
    RISE,
    AblationCAM,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    MaxLogitGradient,
    MoreauGrad,
    Occlusion,
    ProbabilityGradient,
    RegionMap,
    ScoreCAM,
    SmoothGrad,
    smooth_grad,
)
from lit_certattr.attribution import __all__ as names
from lit_certattr.certificates import (
    CosineCertificate,
    PixelCertificate,
    RenyiCertificate,
    SmoothGradCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.certification import Certifier
from lit_certattr.models import CifarResNet
from lit_certattr.regions import Grid
from lit_certattr.smoothing import (
    Draw,
    GaussianNoise,
    MapBlock,
    UniformBallNoise,
    noisy_images,
    sparsify,
    stream,
    uniform_levels,
)
from lit_certattr.smoothing.normals import NormalStream

HAND_OVER = {
    "item",
    "tolist",
    "numpy",
    "cpu",
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__array__",
    "is_nonzero",
}
SHAPED_BY_VALUES = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"}


class Waiting(AssertionError):
    """The device would have been asked for a value."""


class _Calls(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Iterable[Any], args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in HAND_OVER:
            raise Waiting(f"{func.__name__} hands values to Python")
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else []
        if name in SHAPED_BY_VALUES or any(isinstance(i, Tensor) and i.dtype == torch.bool for i in indices):
            raise Waiting(f"the shape of {name} is made of values")
        if name == "repeat_interleave" and func._overloadname == "Tensor":
            raise Waiting("the shape of repeat_interleave is made of values")
        result = func(*args, **(kwargs or {}))
        devices = {
            leaf.device for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor) and leaf.ndim
        }
        if len(devices) > 1:
            raise Waiting(f"{name} copies between {devices}")
        return result


class DeviceNormals(NormalStream):
    """The stream of an accelerator, which draws its own normals; here with torch's generator of the CPU."""

    generator, block = "test", 8

    def _draw_(self, rows: Tensor, number: int) -> None:
        rows.normal_(generator=torch.Generator().manual_seed(number))


def watched(function: Any) -> Any:
    """Run a function as on an accelerator, where values are not free."""
    with (
        mock.patch.object(sparsify, "values_are_free", return_value=False),
        mock.patch.object(smooth_grad, "normal_stream", DeviceNormals),
        _Operations(),
        _Calls(),
    ):
        return function()


METHODS = [
    Gradient(),
    MaxLogitGradient(),
    ProbabilityGradient(),
    GuidedBackprop(),
    InputXGradient(),
    IntegratedGradients(3),
    CAM(),
    GradCAM(),
    GradCAMPlusPlus(),
    LayerCAM(),
    ScoreCAM(),
    AblationCAM(),
    Occlusion(4, 4),
    Occlusion(1, 1, 0.0, layer="final"),
    RISE(num_masks=6, cells=2),
    LIME(segments=2, num_samples=6),
    LRP(),
    MoreauGrad(steps=2, average=1, num_samples=2, sparsity=0.01, group=2),
    SmoothGrad(Gradient(), GaussianNoise(0.1), draws=2),
    RegionMap(Gradient(), Grid(4)),
]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return CifarResNet(8, 5, width=4).eval().requires_grad_(False)


def test_every_method_is_here():
    abstract = {"Attribution", "ActivationMap", "LayerAttribution", "LayerPass"}
    decided_elsewhere = {"FunctionAttribution", "CaptumAttribution"}
    classes = {name for name in names if name[0].isupper()} - abstract - decided_elsewhere
    assert {type(method).__name__ for method in METHODS} == classes


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method)[:40])
@pytest.mark.parametrize("max_batch", [None, 7])
def test_methods(net, method, max_batch):
    """From noisy images to counts; the first block may look at the network, as the certifier's clean map does."""
    if max_batch is not None and hasattr(method, "max_batch"):
        with mock.patch.object(method, "max_batch", max_batch):
            _sample(net, method)
    else:
        _sample(net, method)


def _sample(net, method):
    image, targets = torch.rand(3, 16, 16), torch.full((5,), 2)
    certificate = PixelCertificate([0.5, 0.1])
    stream = noisy_images(image, GaussianNoise(0.25), image_id="a", num_samples=10, batch_size=5)
    with torch.no_grad():
        method = method.placed(image, "a")  # as the certifier does before it samples
        clean_map = method(net, image[None], targets[:1])
        accumulator = certificate.start(GaussianNoise(0.25), clean_map.shape[1:], image.numel())
        for block in stream:
            maps = watched(lambda block=block: method(net, block, targets))
            watched(lambda maps=maps: accumulator.update(MapBlock(maps)))
    assert int(accumulator.compute().num_samples) == 10


@pytest.mark.parametrize(
    ("noise", "certificate"),
    [
        (GaussianNoise(0.25), PixelCertificate([0.5, 0.1])),
        (GaussianNoise(0.25), PixelCertificate([0.5], ties="positive")),
        (GaussianNoise(0.25), TopKOverlapCertificate(0.2)),
        (GaussianNoise(0.25), TopKOverlapCertificate(0.2, num_selection=4, pairs=3)),
        (GaussianNoise(0.25), SmoothGradCertificate(0.2, num_selection=4)),
        (GaussianNoise(0.25), RenyiCertificate(0.2)),
        (UniformBallNoise(0.25), CosineCertificate(num_selection=4)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_certificates(noise, certificate):
    accumulator = certificate.start(noise, (8, 8), 64)
    method, network = ProbabilityGradient(), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    for start in (0, 6):
        draw = Draw(network, torch.rand(6, 1, 8, 8), 2, torch.zeros(1, 8, 8), 0.25, method, method.score)
        block = MapBlock(draw, start, uniform_levels(0, "a", start, 6))
        watched(lambda block=block: accumulator.update(block))


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).all()),
        lambda x: [1, 2][x.argmax() * 0],
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: x.repeat_interleave(torch.tensor([1, 2, 3])),
        lambda x: x.to("meta") + x.to("meta"),
        lambda x: nn.functional.one_hot(x.long()),
    ],
)
def test_the_watch_can_fail(ask):
    with pytest.raises(Waiting):
        watched(lambda: ask(torch.rand(3)))


def test_the_certifier(net):
    """The loop itself, noise included: from an image to counts, as on an accelerator that draws its own normals."""
    certificates = [PixelCertificate([0.5, 0.1]), TopKOverlapCertificate(0.2)]
    certifier = Certifier(GradCAM(), GaussianNoise(0.25), certificates, num_samples=10, batch_size=5)
    image = torch.rand(3, 16, 16)
    accumulators = certifier.start(image, (16, 16))
    with torch.no_grad(), mock.patch.object(stream, "normal_stream", DeviceNormals):
        blocks = certifier.blocks(net, image, 2, "a", 0, 10)
        for _ in range(2):
            block = watched(lambda: next(blocks))
            for accumulator in accumulators.values():
                watched(lambda c=accumulator, b=block: c.update(b))
    assert int(accumulators["pixel"].num_samples) == 10
