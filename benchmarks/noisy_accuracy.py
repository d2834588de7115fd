"""How many noisy copies of many images networks recognise, with the denoiser and without it.

    python -m benchmarks.noisy_accuracy --images FOLDER --squeezenet SQUEEZENET_WEIGHTS.npz

The class is what the plain network predicts for the clean image. Many images with few copies each give a narrow
interval where benchmarks/denoised.py, which makes maps, has few images. Printed for each network and sigma: the shares
without and with the denoiser, their ratio with its 95 % bootstrap interval (the images are drawn again), and the
share of the clean images that keep their class behind the denoiser.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.denoised import samples_of, squeezenet
from lit_certattr.models import Denoised, EfficientNetLite0, UNetDenoiser
from lit_certattr.smoothing import GaussianNoise, noisy_images

DRAWS = 2000


def ratio(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float, float]:
    """Ratio of the means and its 95 % bootstrap interval; the images are drawn again, both variants together."""
    drawn = np.random.default_rng(0).integers(len(before), size=(DRAWS, len(before)))
    bottom = before[drawn].mean(1)
    ratios = np.divide(after[drawn].mean(1), bottom, out=np.full(DRAWS, np.inf), where=bottom > 0)
    low, high = np.quantile(ratios, [0.025, 0.975], method="nearest")
    return float(after.mean() / before.mean()) if before.any() else np.inf, float(low), float(high)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and print one row for each network and sigma."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.noisy_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=Path, help="folder of images; the packaged photographs if left out")
    parser.add_argument("--count", type=int, default=500, help="most images")
    parser.add_argument("--num_samples", type=int, default=10, help="noisy copies per image")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.25])
    parser.add_argument("--weights", default="photographs", help="weights of the denoiser")
    parser.add_argument("--squeezenet", type=Path, help="NPZ file of the weights of SqueezeNet 1.1")
    arguments = parser.parse_args(argv)

    networks: dict[str, torch.nn.Module] = {"EfficientNet-Lite0": EfficientNetLite0()}
    if arguments.squeezenet is not None:
        networks["SqueezeNet 1.1"] = squeezenet(arguments.squeezenet)
    denoiser = UNetDenoiser(weights=arguments.weights)
    for module in (*networks.values(), denoiser):
        module.eval().to(memory_format=torch.channels_last)
    samples = samples_of(arguments.images, arguments.count)
    print("| network (images) | sigma | plain | denoised | ratio | clean class kept |")
    print("| --- | --- | --- | --- | --- | --- |")
    with torch.no_grad():
        for name, plain in networks.items():
            behind = Denoised(denoiser, plain).eval()
            for sigma in arguments.sigmas:
                shares, kept = np.empty((2, len(samples))), 0
                for place in range(len(samples)):
                    sample = samples[place]
                    clean = sample.image[None].contiguous(memory_format=torch.channels_last)
                    target = plain(clean).argmax(1)
                    kept += int(behind(clean).argmax(1) == target)
                    stream = noisy_images(
                        sample.image,
                        GaussianNoise(sigma),
                        image_id=str(sample.id),
                        num_samples=arguments.num_samples,
                        batch_size=arguments.num_samples,
                        seed=0,
                        memory_format=torch.channels_last,
                    )
                    (images,) = stream
                    for variant, network in enumerate((plain, behind)):
                        shares[variant, place] = float((network(images).argmax(1) == target).float().mean())
                times, low, high = ratio(*shares)
                cells = [f"{name} ({len(samples)})", f"{sigma:g}", *(f"{share.mean():.3f}" for share in shares)]
                cells += [f"{times:.2f} [{low:.2f}, {high:.2f}]", f"{kept / len(samples):.2f}"]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
