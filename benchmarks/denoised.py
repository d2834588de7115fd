"""What a denoiser changes: the same noise and certificates, with and without it, on images that trained nothing.

    python -m benchmarks.denoised run --output runs/benchmarks/denoised.jsonl
    python -m benchmarks.denoised run --images FOLDER --count 40 --output runs/benchmarks/denoised_folder.jsonl
    python -m benchmarks.denoised table --output runs/benchmarks/denoised.jsonl

The images are the seven packaged photographs, or those of a folder (the first of its files by name, cut to their
central square). Each image, network, method and variant (plain or denoised) is one line of the output; `run` does those
that are missing, so it may be stopped and started again. The explained class is the plain network's for the clean
image. `--squeezenet FILE` adds SqueezeNet 1.1 with the weights of a local NPZ file (inputs in [0, 1]).

`table` prints means over the images with their standard errors: noisy accuracy; the share of the K important values
that are certified (K = 50, 25 and 10 %, tau .75); overlap of the smoothed map's top quarter with that of the clean map
of the plain network; the area under the deletion curve of the smoothed map, by the plain network on the clean image,
beside the centre of the image and random order; the overlap of the smoothed maps of *different images*, which rises if
maps become templates; and the processor time, plain = 1.
"""

import argparse
import itertools
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_certattr.attribution import LRP, Attribution, GradCAM, Gradient, RegionMap, frozen
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.data import ImageFolder, Photographs, SampleSet
from lit_certattr.metrics.functional import deletion, top_k_intersection
from lit_certattr.models import Denoised, EfficientNetLite0, TorchvisionClassifier, UNetDenoiser
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise, noisy_images

METHODS: Mapping[str, Attribution] = {
    "gradient": Gradient(),
    "gradient, 14 x 14 regions": RegionMap(Gradient(), Grid(14)),
    "LRP": LRP(),
    "Grad-CAM": GradCAM(),
}
LEVELS = (0.5, 0.25, 0.1)
CERTIFICATE = PixelCertificate(LEVELS, alpha=0.001, tau=0.75)
AGREEMENT = 0.25
Line = dict[str, Any]


def squeezenet(weights: Path) -> nn.Module:
    """SqueezeNet 1.1 for images in [0, 1], with the weights of an NPZ file."""
    network = TorchvisionClassifier("squeezenet1_1", mean=[0.0], std=[1.0])
    with np.load(weights, allow_pickle=False) as file:
        state = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
    network.network.load_state_dict(state)
    return network


def measure(network: nn.Module, plain: nn.Module, image: Tensor, name: str, method: Attribution, count: int) -> Line:
    """One image, explained by one network."""
    noise, target = GaussianNoise(SIGMA), plain(image[None]).argmax(1)
    method = method.placed(image, name)
    clean = method(plain, image[None], target)
    accumulator = CERTIFICATE.start(noise, tuple(clean.shape[1:]), image.numel())
    seen, seconds = 0, 0.0
    stream = noisy_images(
        image, noise, image_id=name, num_samples=count, batch_size=20, seed=0, memory_format=torch.channels_last
    )
    for images in stream:
        seen += int((network(images).argmax(1) == target).sum())
        begin = time.process_time()
        maps = method(network, images, target.expand(len(images)))
        seconds += time.process_time() - begin
        accumulator.update(maps)
    result = accumulator.compute()
    assert isinstance(result, PixelResult)
    smoothed = result.smoothed_map().float()
    line: Line = {
        "noisy accuracy": seen / count,
        "certified": [float(share) for share in result.one_share()],
        "agreement": float(top_k_intersection(clean[0].float(), smoothed, AGREEMENT)),
        "seconds": seconds,
    }
    if smoothed.shape == image.shape[1:]:
        areas = deletion(plain, image[None], smoothed[None], target, steps=25).areas()
        line |= {"deletion": float(areas.map), "centre": float(areas.centre), "random": float(areas.random)}
    line["top"] = smoothed.flatten().topk(math.ceil(AGREEMENT * smoothed.numel())).indices.tolist()
    line["values"] = smoothed.numel()
    return line


SIGMA = 0.25


def samples_of(images: Path | None, count: int) -> SampleSet:
    """The images."""
    data = Photographs() if images is None else ImageFolder(str(images), labels=False, crop=0.875)
    data.setup("predict")
    assert data.test_set is not None
    return data.test_set.subset(range(min(count, len(data.test_set))))


def run(arguments: argparse.Namespace) -> None:
    """Measure what is missing."""
    networks: dict[str, nn.Module] = {"EfficientNet-Lite0": EfficientNetLite0()}
    if arguments.squeezenet is not None:
        networks["SqueezeNet 1.1"] = squeezenet(arguments.squeezenet)
    denoiser = UNetDenoiser(weights=arguments.weights)
    known = {tuple(line["key"]) for line in lines_of(arguments.output)}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    samples = samples_of(arguments.images, arguments.count)
    with arguments.output.open("a") as file, torch.no_grad():
        for (network, plain), method, index in itertools.product(networks.items(), METHODS, range(len(samples))):
            sample = samples[index]
            for variant, one in {"plain": plain, "denoised": Denoised(denoiser, plain)}.items():
                key = (network, method, variant, str(sample.id))
                if key in known:
                    continue
                with frozen(one.eval()):
                    line = measure(one, plain, sample.image, str(sample.id), METHODS[method], arguments.num_samples)
                file.write(json.dumps({"key": key} | line) + "\n")
                file.flush()
                print(*key, flush=True)


def lines_of(output: Path) -> list[Line]:
    """The finished lines."""
    whole = output.read_text().splitlines(keepends=True) if output.exists() else []
    return [json.loads(line) for line in whole if line.endswith("\n")]


_HEADER: tuple[str, ...] = ("network, method (images)", "variant", "noisy accuracy", "K = 50 %", "K = 25 %", "K = 10 %")
_HEADER += ("agreement with the clean map", "deletion (centre, random)", "overlap across images", "time")


def table(output: Path) -> bool:
    """Print the table; whether the goals are reached."""
    groups: dict[tuple[str, str], dict[str, dict[str, Line]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines_of(output):
        network, method, variant, image = line["key"]
        groups[network, method][variant][image] = line
    print(f"| {' | '.join(_HEADER)} |")
    print("|---" * len(_HEADER) + "|")
    reached = []
    for (network, method), variants in groups.items():
        both = sorted(set(variants["plain"]) & set(variants["denoised"]))
        for variant in ("plain", "denoised"):
            own = [variants[variant][image] for image in both]
            cells = [_mean(one["noisy accuracy"] for one in own)]
            cells += [_mean(one["certified"][level] for one in own) for level in range(len(LEVELS))]
            cells.append(_mean(one["agreement"] for one in own))
            seen = "deletion" in own[0]
            areas = [f"{mean(one[name] for one in own):.2f}" for name in ("centre", "random")] if seen else []
            cells.append(f"{_mean(one['deletion'] for one in own)} ({', '.join(areas)})" if seen else "")
            cells.append(_mean(_across(own)))
            cells.append(f"{_total(own) / _total([variants['plain'][image] for image in both]):.2f}")
            print(f"| {network}, {method} ({len(both)}) | {variant} | " + " | ".join(cells) + " |")
        if network.startswith("EfficientNet") and method == "LRP":
            reached.append(_goals(*([variants[one][image] for image in both] for one in ("plain", "denoised"))))
    return all(reached)


def _goals(plain: Sequence[Line], denoised: Sequence[Line]) -> bool:
    """Noisy accuracy 1.8 times, LRP at K = 10 % twice, and at most 1.25 times the time."""

    def times(number: Callable[[Line], float]) -> float:
        return float(mean(map(number, denoised)) / max(mean(map(number, plain)), 1e-9))

    accuracy, certified = times(lambda line: line["noisy accuracy"]), times(lambda line: line["certified"][2])
    cost = times(lambda line: line["seconds"])
    print(f"\nEfficientNet-Lite0, LRP: noisy accuracy x {accuracy:.2f} (goal 1.8), certified at K = 10 % x")
    print(f"{certified:.2f} (goal 2), processor time x {cost:.2f} (goal at most 1.25)\n")
    return accuracy >= 1.8 and certified >= 2 and cost <= 1.25


def _across(lines: Sequence[Line]) -> Iterator[float]:
    for one, other in itertools.combinations(lines, 2):
        if one["values"] == other["values"]:
            yield len(set(one["top"]) & set(other["top"])) / len(one["top"])


def _total(lines: Sequence[Line]) -> float:
    return float(sum(one["seconds"] for one in lines))


def _mean(values: Iterator[float]) -> str:
    known = list(values)
    if not known:
        return ""
    error = stdev(known) / math.sqrt(len(known)) if len(known) > 1 else 0.0
    return f"{mean(known):.2f} ± {error:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line; 0 if all is as it must be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.denoised", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/denoised.jsonl"))
    parser.add_argument("--images", type=Path, help="folder of images; the packaged photographs if left out")
    parser.add_argument("--count", type=int, default=40, help="most images")
    parser.add_argument("--num_samples", type=int, default=200)
    parser.add_argument("--weights", default="photographs", help="weights of the denoiser")
    parser.add_argument("--squeezenet", type=Path, help="NPZ file of the weights of SqueezeNet 1.1")
    arguments = parser.parse_args(argv)
    if arguments.command == "run":
        run(arguments)
        return 0
    return int(not table(arguments.output))


if __name__ == "__main__":
    sys.exit(main())
