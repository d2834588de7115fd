"""What the methods that evaluate the network many times cost beside those evaluations, and LRP.

    python -m benchmarks.perturbation --network resnet18 --size 128 --batch 4

Every method explains the same batch; one thread, CPU time, interleaved with a bare forward pass of 32 images without a
graph, medians of the ratios of each round. A method's figure is in forward passes an image; beside it stand the
evaluations that it cannot avoid. Captum, pytorch-grad-cam and zennit stand beside ours where they have the method.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from captum.attr import Occlusion as CaptumOcclusion
from pytorch_grad_cam import AblationCAM as PeerAblationCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
from zennit.rules import Epsilon, ZBox, ZPlus
from zennit.torchvision import ResNetCanonizer
from zennit.types import Convolution

from benchmarks.timing import interleaved, ratios
from lit_certattr.attribution import LIME, LRP, RISE, AblationCAM, Gradient, MoreauGrad, Occlusion, ScoreCAM
from lit_certattr.models import TorchvisionClassifier, final_layer

TOGETHER = 32
"""Images in the bare forward pass, as many as the methods evaluate at once."""


def zennit(model: Any, images: torch.Tensor, targets: torch.Tensor) -> None:
    """Zennit's EpsilonPlusBox on the network behind the normalisation."""
    pixels = model.normalize(images)
    low, high = (model.normalize(torch.full_like(images[:1], end)) for end in (0.0, 1.0))
    first = [(Convolution, ZBox(low, high))]
    layers = [*layer_map_base(), (Convolution, ZPlus()), (nn.Linear, Epsilon())]
    rules = SpecialFirstLayerMapComposite(layers, first, canonizers=[ResNetCanonizer()])
    one_hot = nn.functional.one_hot(targets, 1000)
    with ZennitGradient(model=model.network, composite=rules) as attributor:
        attributor(pixels, lambda logits: one_hot * logits)


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", help="a ResNet of torchvision, with random weights")
    parser.add_argument("--size", type=int, default=128, help="height and width of the images")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = TorchvisionClassifier(arguments.network).eval().to(memory_format=torch.channels_last)
    shape = (arguments.batch, 3, arguments.size, arguments.size)
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    many = torch.rand(TOGETHER, *shape[1:]).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(arguments.batch)
    final = final_layer(model)
    window, stride = arguments.size // 4, arguments.size // 8
    captum = CaptumOcclusion(model)

    def bare() -> None:
        with torch.no_grad():
            model(many)

    def peer_occlusion() -> None:
        with torch.no_grad():
            captum.attribute(
                images, (3, window, window), (3, stride, stride), 0.5, targets, perturbations_per_eval=TOGETHER // 4
            )

    def peer_ablation() -> None:
        with PeerAblationCAM(model, [final.module], batch_size=TOGETHER) as method:
            method(images[:1], [ClassifierOutputTarget(0)])

    channels = final.pooled.in_features if final.pooled is not None else 0
    windows = 7**2 + 1
    methods: dict[str, tuple[str, Any]] = {
        "Gradient": ("1 F + 1 B", Gradient()),
        "LRP": ("about 2 (F + B)", LRP()),
        f"Occlusion(window={window}, stride={stride})": (f"{windows} F", Occlusion(window, stride)),
        "Occlusion(3, 1) at final": ("1 F + heads", Occlusion(3, 1, 0.0, layer="final")),
        "RISE(num_masks=64)": ("64 F", RISE(64)),
        "LIME(num_samples=64)": ("64 F", LIME(num_samples=64)),
        "AblationCAM": (f"1 F + {channels} heads", AblationCAM()),
        "MoreauGrad(steps=4, num_samples=8)": ("32 (F + B)", MoreauGrad(steps=4, num_samples=8, average=1)),
    }
    cases: dict[str, Callable[[], object]] = {"forward pass": bare}
    cases |= {name: partial(method, model, images, targets) for name, (_, method) in methods.items()}
    cases |= {
        "ScoreCAM": lambda: ScoreCAM()(model, images[:1], targets[:1]),
        "Occlusion of captum": peer_occlusion,
        "LRP of zennit": lambda: zennit(model, images, targets),
        "AblationCAM of pytorch-grad-cam": peer_ablation,
    }
    single = ("ScoreCAM", "AblationCAM of pytorch-grad-cam")
    expected = {name: cost for name, (cost, _) in methods.items()} | {
        "ScoreCAM": f"{channels + 1} F",
        "Occlusion of captum": f"{windows} F",
        "LRP of zennit": "",
        "AblationCAM of pytorch-grad-cam": f"{channels + 1} F",
    }
    seconds = interleaved(cases, arguments.repetitions)
    floor = 1000 * min(seconds["forward pass"]) / TOGETHER
    size = f"{arguments.size} x {arguments.size}"
    print(f"{arguments.network}, {size}, batch {arguments.batch}: {floor:.1f} ms of CPU a forward pass")
    for name, ratio in ratios(seconds, "forward pass").items():
        passes = ratio * TOGETHER / (1 if name in single else TOGETHER if name == "forward pass" else arguments.batch)
        print(f"{name:40s} {passes:8.2f} passes an image   {expected.get(name, '')}")


if __name__ == "__main__":
    main()
