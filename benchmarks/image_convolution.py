"""The gradient with respect to the image through first convolutions: PyTorch's own, and ours.

    python -m benchmarks.image_convolution --repetitions 15

One thread, CPU time, interleaved, medians; the forward pass of the same convolution beside them.
"""

import argparse
import statistics
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import interleaved, ratios
from lit_certattr.attribution.image_convolution import image_gradient
from lit_certattr.certification.host_memory import keep_freed_memory

# Images, channels of the images and of the features, kernel, stride, padding, height and width.
STEMS = {
    "ResNet, 7 x 7, stride 2": (8, 3, 64, 7, 2, 3, 224),
    "EfficientNet, 3 x 3, stride 2": (16, 3, 32, 3, 2, 1, 224),
    "VGG, 3 x 3": (8, 3, 64, 3, 1, 1, 224),
    "ViT-B/16, 16 x 16, stride 16": (8, 3, 768, 16, 16, 0, 224),
    "ConvNeXt, 4 x 4, stride 4": (8, 3, 96, 4, 4, 0, 224),
    "CIFAR ResNet, 3 x 3": (256, 3, 64, 3, 1, 1, 32),
    "small CNN, 5 x 5, stride 2": (256, 1, 32, 5, 2, 2, 28),
}


def usual_gradient(gradient: Tensor, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """What PyTorch's autograd computes."""
    sides = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [True, False, False])
    found: Tensor = torch.ops.aten.convolution_backward(gradient, images, weight, None, *sides)[0]
    return found


def main() -> None:
    """Measure every convolution in float32 and bfloat16."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15, help="rounds that are counted")
    repetitions = parser.parse_args().repetitions
    torch.manual_seed(0)
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| first convolution | precision | forward | gradient, PyTorch | ours | times as fast | difference |")
    print("|---|---|---|---|---|---|---|")
    for name, (batch, channels, outputs, kernel, stride, padding, size) in STEMS.items():
        for dtype in (torch.float32, torch.bfloat16):
            images = torch.rand(batch, channels, size, size).to(dtype=dtype, memory_format=torch.channels_last)
            weight = torch.randn(outputs, channels, kernel, kernel).to(dtype=dtype, memory_format=torch.channels_last)
            features = F.conv2d(images, weight, stride=stride, padding=padding)
            gradient = torch.randn_like(features)
            sides = ((size, size), (stride, stride), (padding, padding))
            cases = {
                "forward": partial(F.conv2d, images, weight, stride=stride, padding=padding),
                "usual": partial(usual_gradient, gradient, images, weight, stride, padding),
                "ours": partial(image_gradient, gradient, weight, *sides),
            }
            seconds = interleaved(cases, repetitions)
            times = [f"{1e3 * statistics.median(seconds[case]) / batch:.4f} ms" for case in cases]
            usual, ours = cases["usual"]().double(), cases["ours"]().double()
            difference = float((usual - ours).abs().max() / usual.abs().max())
            gain = 1 / ratios(seconds, "usual")["ours"]
            precision = str(dtype).removeprefix("torch.")
            print(f"| {name} | {precision} | {' | '.join(times)} | {gain:.1f} | {difference:.0e} |", flush=True)


if __name__ == "__main__":
    main()
