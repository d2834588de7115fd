"""What the same noise certifies pixel by pixel and region by region, on photographs and a network off the shelf.

    python -m benchmarks.regions run --output runs/benchmarks/regions.jsonl
    python -m benchmarks.regions run --networks denoised --methods gradient Grad-CAM --sigmas 0.25
    python -m benchmarks.regions table --output runs/benchmarks/regions.jsonl

Each photograph, method and sigma is one line of the output; `run` does those that are missing, so it may be stopped and
started again (integrated gradients take most of the time: about 20 passes a sample). All divisions of an image share
the maps of the same noisy copies. `table` prints, for each division, the share of the K important values that are
certified (K = 50 % at tau .75; K = 25 % at tau .5) and the overlap of K = 25 % at radius .05 and .10; and the noisy
accuracy: the share of the noisy copies that the network itself predicts as the explained class. `denoised` is the same
network behind the packaged denoiser; it explains the class that the network predicts for the clean image without it.
The table exits with status 1 if superpixels certify less than five times as much of the top half as pixels do (plain
gradient of the network as it comes, mean over photographs and sigmas).
"""

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution, GradCAM, Gradient, IntegratedGradients, RegionMap, frozen
from lit_certattr.certificates import (
    Certificate,
    PixelCertificate,
    PixelResult,
    TopKOverlapCertificate,
    TopKOverlapResult,
)
from lit_certattr.data import Photographs
from lit_certattr.models import Denoised, EfficientNetLite0, UNetDenoiser, without_denoiser
from lit_certattr.regions import Grid, Regions, Superpixels
from lit_certattr.smoothing import GaussianNoise, noisy_images

METHODS: Mapping[str, Attribution] = {
    "gradient": Gradient(),
    "Grad-CAM": GradCAM(),
    "integrated gradients": IntegratedGradients(),
}
DIVISIONS: Mapping[str, Regions | None] = {
    "pixels": None,
    "28 x 28": Grid(28),
    "14 x 14": Grid(14),
    "7 x 7": Grid(7),
    "superpixels": Superpixels(80),
}
CERTIFICATES: Mapping[str, Certificate] = {
    "top half": PixelCertificate([0.5], alpha=0.001, tau=0.75),
    "top quarter": PixelCertificate([0.25], alpha=0.001, tau=0.5),
    "overlap": TopKOverlapCertificate(0.25, alpha=0.001),
}
SIGMAS = (0.25, 0.15)
GOAL = 5.0
Line = dict[str, Any]


class Once(Attribution):
    """The maps of a method, computed once for each batch, however many divisions ask for them."""

    hands_on_network = True

    def __init__(self, base: Attribution) -> None:
        super().__init__(base.channels)
        self.base = base
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        if self._last is None or self._last[0] is not images:
            self._last = images, self.base(model, images, targets, create_graph)
        return self._last[1]


def measure(network: nn.Module, image: Tensor, name: str, method: str, sigma: float, num_samples: int) -> Line:
    """What is certified of one photograph, by each division of it."""
    target, base = without_denoiser(network)(image[None]).argmax(1), Once(METHODS[method])
    noise = GaussianNoise(sigma)
    methods = {
        key: base if regions is None else RegionMap(base, regions).placed(image, name)
        for key, regions in DIVISIONS.items()
    }
    counted = {}
    for key, one in methods.items():
        map_shape = tuple(one(network, image[None], target).shape[1:])
        counted[key] = {which: kind.start(noise, map_shape, image.numel()) for which, kind in CERTIFICATES.items()}
    seen = 0
    stream = noisy_images(
        image,
        noise,
        image_id=name,
        num_samples=num_samples,
        batch_size=20,
        seed=0,
        memory_format=torch.channels_last,
    )
    for buffer in stream:
        images = buffer.clone()  # the buffer is reused: each batch needs an identity of its own
        targets = target.expand(len(images))
        seen += int((network(images).argmax(1) == target).sum())
        for key, one in methods.items():
            maps = one(network, images, targets)
            for accumulator in counted[key].values():
                accumulator.update(maps)
    line: Line = {"photograph": name, "method": method, "sigma": sigma, "noisy accuracy": seen / num_samples}
    for key, accumulators in counted.items():
        half, quarter, overlap = (accumulators[which].compute() for which in CERTIFICATES)
        assert isinstance(half, PixelResult)
        assert isinstance(quarter, PixelResult)
        assert isinstance(overlap, TopKOverlapResult)
        line[key] = {
            "values": half.num_pixels,
            "top half": float(half.one_share()[0]),
            "top quarter": float(quarter.one_share()[0]),
            "overlap .05": overlap.overlap(0.05) / overlap.size,
            "overlap .10": overlap.overlap(0.10) / overlap.size,
        }
    return line


def networks_of(names: Sequence[str]) -> dict[str, nn.Module]:
    """The networks that are measured, by their names in the lines."""
    plain = EfficientNetLite0().eval()
    if "denoised" not in names:
        return {"plain": plain}
    denoiser = UNetDenoiser(weights="photographs").eval()
    for module in (plain, denoiser):
        module.to(memory_format=torch.channels_last)
    both = {"plain": plain, "denoised": Denoised(denoiser, plain).eval()}
    return {name: both[name] for name in names}


def run(
    output: Path,
    num_samples: int,
    methods: Sequence[str],
    photographs: Sequence[str],
    networks: Mapping[str, nn.Module],
    sigmas: Sequence[float],
) -> None:
    """Measure what is missing."""
    done = lines_of(output)
    if done and done[0] != {"samples": num_samples}:
        raise SystemExit(f"{output} holds a run with {done[0]}: choose another --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    data = Photographs()
    data.setup("predict")
    samples = data.predict_set
    known = {(network_of(line), line["photograph"], line["method"], line["sigma"]) for line in done[1:]}
    with output.open("a") as file, torch.no_grad():
        if not done:
            file.write(json.dumps({"samples": num_samples}) + "\n")
        for (name, network), method, sigma in itertools.product(networks.items(), methods, sigmas):
            for sample in (samples[index] for index in range(len(samples))):
                key = name, str(sample.id), method, sigma
                if key in known or (photographs and sample.id not in photographs):
                    continue
                with frozen(network):
                    line = measure(network, sample.image, str(sample.id), method, sigma, num_samples)
                file.write(json.dumps(line | {"network": name}) + "\n")
                file.flush()
                print(f"{name}, {method}, sigma {sigma}, {sample.id}: done", flush=True)


def network_of(line: Line) -> str:
    """Name of the network of a line; older lines are of the plain one."""
    return str(line.get("network", "plain"))


def lines_of(output: Path) -> list[Line]:
    """The finished lines; one that was cut off is done again."""
    whole = (
        [line for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if (output.exists())
        else []
    )
    if output.exists():
        output.write_text("".join(whole))
    return [json.loads(line) for line in whole]


def table(output: Path) -> bool:
    """Print the tables; whether the goal is reached."""
    settings, *lines = lines_of(output)
    print(f"{settings['samples']} samples, alpha = .001; top half (tau .75), top quarter (tau .5); overlap of the top")
    print("quarter at l2 .05 / .10\n")
    groups: dict[tuple[str, str, float], list[Line]] = defaultdict(list)
    for line in lines:
        groups[network_of(line), line["method"], line["sigma"]].append(line)
    for (network, method, sigma), own in groups.items():
        print(f"**{network}, {method}, sigma {sigma:g}**\n")
        print("| photograph | noisy accuracy | " + " | ".join(DIVISIONS) + " |")
        print("|---" * (len(DIVISIONS) + 2) + "|")
        average = {key: {cell: mean(one[key][cell] for one in own) for cell in own[0][key]} for key in DIVISIONS}
        accuracy = mean(one["noisy accuracy"] for one in own)
        for one in [*own, {"photograph": "mean", "noisy accuracy": accuracy, **average}]:
            cells = " | ".join(_cell(one[key]) for key in DIVISIONS)
            print(f"| {one['photograph']} | {one['noisy accuracy']:.2f} | {cells} |")
        print()
    return _reached([line for line in lines if (network_of(line), line["method"]) == ("plain", "gradient")])


def _cell(values: Mapping[str, float]) -> str:
    overlaps = " / ".join(f"{values[f'overlap {radius}']:.2f}".lstrip("0") for radius in (".05", ".10"))
    return f"{100 * values['top half']:.1f} ({100 * values['top quarter']:.1f}); {overlaps}"


def _reached(lines: Sequence[Line]) -> bool:
    """Whether superpixels certify as much more than pixels as they are meant to."""
    if not lines:
        return True
    here, there = (mean(line[key]["top half"] for line in lines) for key in ("superpixels", "pixels"))
    print(
        f"top half, gradient, mean over {len(lines)} photographs and sigmas: {100 * here:.1f} % by superpixels, "
        f"{100 * there:.1f} % by pixels: {here / max(there, 1e-9):.1f} times"
    )
    return bool(here >= GOAL * there)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line; 0 if all is as it must be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/regions.jsonl"))
    parser.add_argument("--samples", type=int, default=200, help="noisy copies of each photograph")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--networks", nargs="+", choices=["plain", "denoised"], default=["plain"])
    parser.add_argument("--sigmas", nargs="+", type=float, default=list(SIGMAS))
    parser.add_argument("--photographs", nargs="+", default=[], help="only these; left out: all seven")
    arguments = parser.parse_args(argv)
    if arguments.what == "run":
        torch.set_num_threads(1)
        run(
            arguments.output,
            arguments.samples,
            arguments.methods,
            arguments.photographs,
            networks_of(arguments.networks),
            arguments.sigmas,
        )
    return 0 if table(arguments.output) else 1


if __name__ == "__main__":
    sys.exit(main())
