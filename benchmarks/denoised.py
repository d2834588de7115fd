"""What a denoiser changes: the same noise and certificates, with and without it, on images that trained nothing.

    python -m benchmarks.denoised run --output runs/benchmarks/denoised.jsonl
    python -m benchmarks.denoised run --images FOLDER --count 40 --output runs/benchmarks/denoised_folder.jsonl
    python -m benchmarks.denoised table --output runs/benchmarks/denoised.jsonl

The images are the seven packaged photographs, or those of a folder (the first of its files by name, cut to their
central square); a sub-folder holds images of one class, or of one kind. Each image, network, method and variant (plain
or denoised) is one line of the output; `run` does those that are missing, so it may be stopped and started again. The
explained class is the plain network's for the clean image. `--squeezenet FILE` adds SqueezeNet 1.1 with the weights of
a local NPZ file (inputs in [0, 1]); `--fine_tuned CHECKPOINT` adds a third variant, EfficientNet-Lite0 as `train.py`
has fine-tuned it (benchmarks/fine_tuned.py). Several files may be given to `table`.

`table` prints means over the images: noisy accuracy; whether the clean image keeps its class behind the denoiser; the
share of the K important values that are certified (K = 50, 25 and 10 %, tau .75); overlap of the smoothed map's top
quarter with that of the clean map of the plain network; the area under the deletion curve of the smoothed map, by the
plain network on the clean image, beside the centre of the image and random order; the overlap of the smoothed maps of
images of one sub-folder and of all others, which rises if maps become templates; and the processor time, plain = 1. A
second table has the differences from the plain network, with 95 % bootstrap intervals: the images are drawn again, in
whole sub-folders.
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
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_certattr.attribution import LRP, Attribution, GradCAM, Gradient, RegionMap, frozen
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.data import ImageFolder, Photographs, SampleSet
from lit_certattr.metrics.functional import deletion, top_k_intersection
from lit_certattr.models import Denoised, EfficientNetLite0, TorchvisionClassifier, UNetDenoiser, load_network
from lit_certattr.models.denoised import without_denoiser
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise, noisy_images

METHODS: Mapping[str, Attribution] = {
    "gradient": Gradient(),
    "gradient, 14 x 14 regions": RegionMap(Gradient(), Grid(14)),
    "LRP": LRP(),
    "Grad-CAM": GradCAM(),
}
NETWORKS = ("EfficientNet-Lite0", "SqueezeNet 1.1")
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


def measure(
    network: nn.Module, plain: nn.Module, image: Tensor, name: str, methods: Sequence[str], count: int, areas: bool
) -> Iterator[tuple[str, Line]]:
    """One image, explained by one network with several methods, which share the noise and the denoised copies."""
    noise, target = GaussianNoise(SIGMA), plain(image[None]).argmax(1)
    placed = {one: METHODS[one].placed(image, name) for one in methods}
    clean = {one: method(plain, image[None], target) for one, method in placed.items()}
    accumulators = {one: CERTIFICATE.start(noise, tuple(clean[one].shape[1:]), image.numel()) for one in methods}
    explained = without_denoiser(network)
    seen, shared, seconds = 0, 0.0, dict.fromkeys(methods, 0.0)
    stream = noisy_images(
        image, noise, image_id=name, num_samples=count, batch_size=20, seed=0, memory_format=torch.channels_last
    )
    for images in stream:
        begin = time.process_time()
        copies = network.denoise(images) if isinstance(network, Denoised) else images
        shared += time.process_time() - begin
        seen += int((explained(copies).argmax(1) == target).sum())
        for one, method in placed.items():
            begin = time.process_time()
            maps = method(explained, copies, target.expand(len(copies)))
            seconds[one] += time.process_time() - begin
            accumulators[one].update(maps)
    for one in methods:
        result = accumulators[one].compute()
        assert isinstance(result, PixelResult)
        smoothed = result.smoothed_map().float()
        line: Line = {
            "noisy accuracy": seen / count,
            "clean": int(network(image[None]).argmax(1)) == int(target),
            "certified": [float(share) for share in result.one_share()],
            "agreement": float(top_k_intersection(clean[one][0].float(), smoothed, AGREEMENT)),
            "seconds": shared + seconds[one],  # a method alone denoises every copy, too
        }
        if areas and smoothed.shape == image.shape[1:]:
            pixels = image[None].contiguous(memory_format=torch.channels_last)
            curves = deletion(plain, pixels, smoothed[None], target, steps=25).areas()
            line |= {"deletion": float(curves.map), "centre": float(curves.centre), "random": float(curves.random)}
        line["top"] = smoothed.flatten().topk(math.ceil(AGREEMENT * smoothed.numel())).indices.tolist()
        line["values"] = smoothed.numel()
        yield one, line


SIGMA = 0.25


def samples_of(images: Path | None, count: int) -> SampleSet:
    """The images."""
    data = Photographs() if images is None else ImageFolder(str(images), labels=False, crop=0.875)
    data.setup("predict")
    assert data.test_set is not None
    return data.test_set.subset(range(min(count, len(data.test_set))))


def run(arguments: argparse.Namespace) -> None:
    """Measure what is missing."""
    networks: dict[str, nn.Module] = {}
    if "EfficientNet-Lite0" in arguments.networks:
        networks["EfficientNet-Lite0"] = EfficientNetLite0()
    if "SqueezeNet 1.1" in arguments.networks and arguments.squeezenet is not None:
        networks["SqueezeNet 1.1"] = squeezenet(arguments.squeezenet)
    denoiser = UNetDenoiser(weights=arguments.weights)
    fine_tuned = None if arguments.fine_tuned is None else load_network(arguments.fine_tuned)
    for module in (*networks.values(), denoiser, *([] if fine_tuned is None else [fine_tuned])):
        module.to(memory_format=torch.channels_last)  # as in certify.py run: convolutions are faster
    output = arguments.output[0]
    known = {tuple(line["key"]) for line in lines_of(output)}
    output.parent.mkdir(parents=True, exist_ok=True)
    samples = samples_of(arguments.images, arguments.count)
    with output.open("a") as file, torch.no_grad():
        # Images outermost: a run that is stopped has everything of the first images.
        for index, (network, plain) in itertools.product(range(len(samples)), networks.items()):
            sample = samples[index]
            variants = {"plain": plain, "denoised": Denoised(denoiser, plain)}
            if fine_tuned is not None and isinstance(plain, EfficientNetLite0):
                variants["fine-tuned"] = fine_tuned
            for variant, one in variants.items():
                missing = [
                    method for method in arguments.methods if (network, method, variant, str(sample.id)) not in known
                ]
                if not missing:
                    continue
                with frozen(one.eval()):
                    lines = measure(
                        one, plain, sample.image, str(sample.id), missing, arguments.num_samples, arguments.deletion
                    )
                    for method, line in lines:
                        key = (network, method, variant, str(sample.id))
                        file.write(json.dumps({"key": key} | line) + "\n")
                        file.flush()
                        print(*key, flush=True)


def lines_of(output: Path) -> list[Line]:
    """The finished lines."""
    whole = output.read_text().splitlines(keepends=True) if output.exists() else []
    return [json.loads(line) for line in whole if line.endswith("\n")]


Pair = tuple[Sequence[Line], Sequence[Line]]
QUANTITIES: Mapping[str, Callable[[Line], float]] = {
    "noisy accuracy": lambda line: line["noisy accuracy"],
    "clean class kept": lambda line: float(line.get("clean", math.nan)),
    "K = 50 %": lambda line: line["certified"][0],
    "K = 25 %": lambda line: line["certified"][1],
    "K = 10 %": lambda line: line["certified"][2],
    "agreement": lambda line: line["agreement"],
    "deletion": lambda line: line.get("deletion", math.nan),
    "centre": lambda line: line.get("centre", math.nan),
    "random": lambda line: line.get("random", math.nan),
}
SAME = ("centre", "random")  # they do not depend on the map
DRAWS = 2000


def table(outputs: Sequence[Path]) -> bool:
    """Print both tables; whether the goals are reached."""
    groups: dict[tuple[str, str], dict[str, dict[str, Line]]] = defaultdict(lambda: defaultdict(dict))
    for line in itertools.chain.from_iterable(map(lines_of, outputs)):
        network, method, variant, image = line["key"]
        groups[network, method][variant][image] = line
    names = [*QUANTITIES, "overlap, same kind", "overlap, other kinds", "time"]
    means, differences, ratios, reached = [], [], [], []
    for (network, method), variants in groups.items():
        others = [variant for variant in variants if variant != "plain"]
        shared = sorted(set.intersection(*(set(variants[variant]) for variant in ("plain", *others))))
        plain = [variants["plain"][image] for image in shared]
        name, before, spent = f"{network}, {method} ({len(shared)})", _numbers(plain), _seconds(plain)
        means.append([name, "plain", *map(_cell, before), _cell(1.0)])
        for variant in others:
            pair = plain, [variants[variant][image] for image in shared]
            after, (low, high) = _numbers(pair[1]), _bootstrap(pair)
            means.append([name, variant, *map(_cell, after), _cell(_seconds(pair[1]) / spent)])
            changes = [
                f"{new - old:+.2f} [{one:+.2f}, {other:+.2f}]" if math.isfinite(new - old) and key not in SAME else ""
                for key, old, new, one, other in zip(names[:-1], before, after, low, high, strict=True)
            ]
            differences.append([name, variant, *changes])
            ratios.append(f"{network}, {method}, {variant}: {_accuracy_ratio(pair)}")
            if network.startswith("EfficientNet") and method == "LRP" and variant == "denoised":
                reached.append(_goals(*pair))
    _print(["network, method (images)", "variant", *names], means)
    print("\nDifferences from the plain network, with 95 % bootstrap intervals:\n")
    _print(["network, method (images)", "variant", *names[:-1]], differences)
    print("", *ratios, "", sep="\n")
    return all(reached)


def _seconds(lines: Sequence[Line]) -> float:
    return sum(float(line["seconds"]) for line in lines)


def _print(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    used = [place for place in range(len(header)) if any(row[place] for row in rows)]
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(row[place] for place in used)} |")


def _cell(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""


def _numbers(lines: Sequence[Line]) -> list[float]:
    """Mean quantities of images, and the overlaps of their maps."""
    same, other = _overlaps(lines)
    one = np.ones(len(lines))
    return [*(mean(map(value, lines)) for value in QUANTITIES.values()), _weighted(same, one), _weighted(other, one)]


def _overlaps(lines: Sequence[Line]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shared top quarter of two images, of one kind and of two; NaN elsewhere."""
    same, other = (np.full((len(lines), len(lines)), np.nan) for _ in range(2))
    tops = [set(line["top"]) for line in lines]
    for one, two in itertools.combinations(range(len(lines)), 2):
        if lines[one]["values"] == lines[two]["values"]:
            alike = _kind(lines[one]) is not None and _kind(lines[one]) == _kind(lines[two])
            (same if alike else other)[one, two] = len(tops[one] & tops[two]) / len(tops[one])
    return same, other


def _kind(line: Line) -> str | None:
    """The sub-folder of an image."""
    folder, separator, _ = str(line["key"][3]).rpartition("__")
    return folder if separator else None


def _weighted(overlaps: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """Mean over the pairs, each as often as both of its images together."""
    weights = np.where(np.isnan(overlaps), 0, np.outer(counts, counts))
    return float((np.nan_to_num(overlaps) * weights).sum() / weights.sum()) if weights.any() else math.nan


def _drawn(lines: Sequence[Line]) -> Iterator[NDArray[np.float64]]:
    """How often each image is drawn, in draws of whole kinds."""
    kinds = [_kind(line) or str(line["key"][3]) for line in lines]
    places = [[place for place, kind in enumerate(kinds) if kind == one] for one in sorted(set(kinds))]
    generator = np.random.default_rng(0)
    for _ in range(DRAWS):
        drawn = generator.integers(len(places), size=len(places))
        yield np.bincount([place for kind in drawn for place in places[kind]], minlength=len(lines)).astype(np.float64)


def _accuracy_ratio(pair: Pair) -> str:
    """Noisy accuracy of the denoised network, in times that of the plain one, with its 95 % interval."""
    before, after = (np.array([line["noisy accuracy"] for line in lines]) for lines in pair)
    if not before.any():
        return "no noisy copy is recognised without the denoiser"
    sums = [(float(counts @ after), float(counts @ before)) for counts in _drawn(pair[0])]
    ratios = [top / bottom if bottom else math.inf for top, bottom in sums]
    low, high = np.quantile(ratios, [0.025, 0.975], method="nearest")  # one of them: between infinities is nothing
    return f"noisy accuracy x {after.sum() / before.sum():.2f} [{low:.2f}, {high:.2f}]"


def _bootstrap(pair: Pair) -> tuple[list[float], list[float]]:
    """95 % intervals of the differences: kinds of images are drawn again, as both variants of the same images."""
    plain, denoised = pair
    apart = np.array(
        [[value(b) - value(a) for value in QUANTITIES.values()] for a, b in zip(plain, denoised, strict=True)]
    )
    overlaps = [(after, before) for before, after in zip(_overlaps(plain), _overlaps(denoised), strict=True)]
    found = []
    for counts in _drawn(plain):
        means = (apart * counts[:, None]).sum(0) / counts.sum()
        found.append([*means, *(_weighted(after, counts) - _weighted(before, counts) for after, before in overlaps)])
    columns = np.array(found).T
    known = [column[np.isfinite(column)] for column in columns]  # empty for what was not measured
    ends = [np.quantile(one, [0.025, 0.975]) if one.size else np.full(2, np.nan) for one in known]
    return [float(low) for low, _ in ends], [float(high) for _, high in ends]


def _goals(plain: Sequence[Line], denoised: Sequence[Line]) -> bool:
    """Noisy accuracy 1.8 times, LRP at K = 10 % twice, and at most 1.25 times the time."""

    def times(number: Callable[[Line], float]) -> float:
        return float(mean(map(number, denoised)) / max(mean(map(number, plain)), 1e-9))

    accuracy, certified = times(lambda line: line["noisy accuracy"]), times(lambda line: line["certified"][2])
    cost = times(lambda line: line["seconds"])
    print(f"EfficientNet-Lite0, LRP: noisy accuracy x {accuracy:.2f} (goal 1.8), certified at K = 10 % x")
    print(f"{certified:.2f} (goal 2), processor time x {cost:.2f} (goal at most 1.25)\n")
    return accuracy >= 1.8 and certified >= 2 and cost <= 1.25


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line; 0 if all is as it must be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.denoised", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--output", type=Path, nargs="+", default=[Path("runs/benchmarks/denoised.jsonl")])
    parser.add_argument("--images", type=Path, help="folder of images; the packaged photographs if left out")
    parser.add_argument("--count", type=int, default=40, help="most images")
    parser.add_argument("--num_samples", type=int, default=200)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--deletion", action=argparse.BooleanOptionalAction, default=True, help="deletion curves")
    parser.add_argument("--weights", default="photographs", help="weights of the denoiser")
    parser.add_argument("--fine_tuned", type=Path, help="checkpoint of EfficientNet-Lite0, fine-tuned under noise")
    parser.add_argument("--squeezenet", type=Path, help="NPZ file of the weights of SqueezeNet 1.1")
    arguments = parser.parse_args(argv)
    if arguments.command == "run":
        run(arguments)
        return 0
    return int(not table(arguments.output))


if __name__ == "__main__":
    sys.exit(main())
