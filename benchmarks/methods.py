"""What an attribution map costs, in forward passes of the network.

    python -m benchmarks.methods --network resnet18 --batch 8

Every method explains the same batch; one thread, CPU time, interleaved with a bare forward pass without a graph,
medians of the ratios of each round, in a process that keeps freed memory. Captum and pytorch-grad-cam stand beside ours
where they have the method.
"""

import argparse
from functools import partial

import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM as PeerGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from benchmarks.timing import interleaved, ratios
from lit_certattr.attribution import (
    CAM,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    SmoothGrad,
)
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.models import TorchvisionClassifier, final_layer
from lit_certattr.smoothing import GaussianNoise


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", help="a name of torchvision, with random weights")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    keep_freed_memory()
    model = TorchvisionClassifier(arguments.network).eval().to(memory_format=torch.channels_last)
    images = torch.rand(arguments.batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(arguments.batch)
    layer = final_layer(model).module
    captum = LayerGradCam(model, layer)

    def peer() -> None:
        with PeerGradCAM(model, [layer]) as method:
            method(images, [ClassifierOutputTarget(target) for target in targets.tolist()])

    def bare() -> None:
        with torch.no_grad():
            model(images)

    methods = {
        "CAM": CAM(),
        "GradCAM": GradCAM(),
        "GradCAMPlusPlus": GradCAMPlusPlus(),
        "LayerCAM": LayerCAM(),
        "InputXGradient at final": InputXGradient(layer="final"),
        "IntegratedGradients(20) at final": IntegratedGradients(20, layer="final"),
        "GradCAM at layer2": GradCAM("layer2"),
        "Gradient": Gradient(),
        "GuidedBackprop": GuidedBackprop(),
        "SmoothGrad(Gradient, draws=4)": SmoothGrad(Gradient(), GaussianNoise(0.1), draws=4),
    }
    cases = {"forward pass": bare, "GradCAM of captum": lambda: captum.attribute(images, targets)}
    cases |= {"GradCAM of pytorch-grad-cam": peer}
    cases |= {name: partial(method, model, images, targets) for name, method in methods.items()}
    seconds = interleaved(cases, arguments.repetitions)
    floor = 1000 * min(seconds["forward pass"]) / arguments.batch
    print(f"{arguments.network}, batch {arguments.batch}: forward pass {floor:.1f} ms an image")
    for name, ratio in ratios(seconds, "forward pass").items():
        print(f"{name:35s} {ratio:6.2f} x")


if __name__ == "__main__":
    main()
