"""What the certificate says about each attribution method, on photographs that come inside packages.

    python -m benchmarks.methods_table run   --output runs/methods_table
    python -m benchmarks.methods_table table --output runs/methods_table

`run` certifies the photographs (the class that EfficientNet-Lite0 predicts) and the four cells of one mosaic of the
labelled ones (the class of each cell) with every method, and leaves one file an image: a run that was interrupted goes
on where it stopped. `table` prints one row a method from the files that are there, and says how many there are.

Setting of Anani et al. (2025): sigma 0.15, tau 0.75 (so every label has a radius of at least 0.101), K = 50, 30, 10 %,
100 samples, alpha 0.001 over all pixels and levels. Maps of the last feature map are certified at its own 7 x 7, where
each value stands for its square of 32 x 32 pixels in the counts of pixels below. Methods with inner samples get few of
them, as their name in the table says: with more they would take hours on a CPU.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from lit_certattr import Certifier
from lit_certattr.attribution import (
    CAM,
    LIME,
    LRP,
    RISE,
    AblationCAM,
    Attribution,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    ScoreCAM,
    SmoothGrad,
)
from lit_certattr.certificates import PixelCertificate, PixelResult, load_results, save_results
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.data import GridMosaics, Photographs, SampleSet
from lit_certattr.metrics import CertifiedDeletion, CertifiedGridPG
from lit_certattr.metrics.functional import certified_deletion
from lit_certattr.models import EfficientNetLite0
from lit_certattr.smoothing import GaussianNoise

SIGMA, TAU, TOP_K, NUM_SAMPLES = 0.15, 0.75, (0.5, 0.3, 0.1), 100

NATIVE: dict[str, Any] = {"layer": "final", "upsample": False}
METHODS: dict[str, Attribution] = {
    "GradCAM, 7 x 7": GradCAM(**NATIVE),
    "Gradient": Gradient(),
    "LayerCAM, 7 x 7": LayerCAM(**NATIVE),
    "GuidedBackprop": GuidedBackprop(),
    "GradCAMPlusPlus, 7 x 7": GradCAMPlusPlus(**NATIVE),
    "InputXGradient": InputXGradient(),
    "AblationCAM, 7 x 7": AblationCAM(**NATIVE),
    "LRP": LRP(),
    "Occlusion of features, window 3, stride 1, fill 0, 7 x 7": Occlusion(window=3, stride=1, fill=0.0, **NATIVE),
    "IntegratedGradients, 20 steps, 7 x 7": IntegratedGradients(20, **NATIVE),
    "InputXGradient, 7 x 7": InputXGradient(**NATIVE),
    "CAM, 7 x 7": CAM(**NATIVE),
    "GradCAM, resized to 224 x 224": GradCAM(),
    "SmoothGrad of Gradient, 4 draws of sigma 0.1": SmoothGrad(Gradient(), GaussianNoise(0.1), draws=4),
    "RISE, 32 masks of 7 x 7 cells": RISE(num_masks=32),
    "LIME, 32 samples, 4 x 4 segments": LIME(segments=4, num_samples=32),
    "Occlusion, window 56, stride 28": Occlusion(window=56, stride=28),
    "IntegratedGradients, 4 steps": IntegratedGradients(4),
    "ScoreCAM of the features of blocks.0 (16 channels), 112 x 112": ScoreCAM(layer="blocks.0", upsample=False),
}
"""In the order in which they are certified: first those that cost one pass a sample."""


def images(network: nn.Module) -> tuple[SampleSet, GridMosaics]:
    """The four photographs whose label is known, and the mosaic of them, once a cell."""
    data = Photographs()
    mosaic = GridMosaics(data, network, num_grids=1, min_confidence=0.3, shrink=True)
    mosaic.setup("predict")
    places = [data.predict_set.ids.index(name) for name in mosaic.parts[0]]
    return data.predict_set.subset(places), mosaic


def run(arguments: argparse.Namespace) -> None:
    """Certify what has not been certified yet."""
    network, (photographs, mosaic) = prepared()
    for name, method in METHODS.items():
        if arguments.methods and not any(name.startswith(wanted) for wanted in arguments.methods):
            continue
        certificate = PixelCertificate(TOP_K, alpha=0.001, tau=TAU)
        certifier = Certifier(method, GaussianNoise(SIGMA), [certificate], NUM_SAMPLES, batch_size=8)
        folder = arguments.output / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        for samples, labelled in ((photographs, False), (mosaic.predict_set, True)):
            for image, target, image_id in (samples[index] for index in range(len(samples))):
                file = folder / f"{image_id}.safetensors"
                if file.exists():
                    continue
                start = time.process_time()
                results = certifier(network, image[None], [int(target)] if labelled else None, [str(image_id)])
                seconds = time.process_time() - start
                save_results(file, results[0])
                file.with_suffix(".json").write_text(json.dumps({"cpu_seconds": seconds}))
                print(f"{name}: {image_id}, {seconds:.1f} s", flush=True)


def prepared() -> tuple[nn.Module, tuple[SampleSet, GridMosaics]]:
    """The network, and what is certified."""
    torch.set_num_threads(1)
    network = EfficientNetLite0().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return network, images(network)


def in_pixels(result: PixelResult, side: int) -> PixelResult:
    """The result on ``side`` x ``side`` pixels: what is certified of a value holds for each pixel of its square."""
    scale = side // result.labels.shape[1]

    def spread(values: Tensor) -> Tensor:
        return values.repeat_interleave(scale, 1).repeat_interleave(scale, 2)

    return attrs.evolve(
        result,
        labels=spread(result.labels),
        radius=spread(result.radius),
        votes=spread(result.votes),
        sizes=[size * scale**2 for size in result.sizes],
    )


def table(arguments: argparse.Namespace) -> None:
    """Print one row a method."""
    network, (photographs, mosaic) = prepared()
    print("| method | images | certified 1 / K | certified 0 | abstain | C-GridPG (support) | deletion | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name in METHODS:
        folder = arguments.output / name.replace(" ", "_")
        stored = {file.stem: load_results(file)["pixel"] for file in sorted(folder.glob("*.safetensors"))}
        if not stored:
            continue
        seconds = [json.loads(file.read_text())["cpu_seconds"] for file in folder.glob("*.json")]
        found = {key: in_pixels(value, 224) for key, value in stored.items() if isinstance(value, PixelResult)}
        pictures = [image_id for image_id in photographs.ids if image_id in found]
        cells = [image_id for image_id in mosaic.predict_set.ids if image_id in found]
        row = [name, f"{len(pictures)} + {len(cells)}"]
        row += shares([found[image_id] for image_id in pictures])
        row += [grid_game(found, cells, mosaic), removal(network, photographs, found, pictures)]
        print(f"| {' | '.join(row)} | {statistics.median(seconds):.0f} |", flush=True)


def shares(results: list[PixelResult]) -> list[str]:
    """Certified 1 as a share of K, certified 0 and abstentions as shares of the pixels, in percent, for each K."""
    if not results:
        return ["-"] * 3
    found = [result.shares() for result in results]
    mean = {part: torch.stack([share[part] for share in found]).mean(0) for part in ("one", "zero", "abstain")}
    sizes = torch.tensor(results[0].sizes) / results[0].num_pixels
    rows = (mean["one"] / sizes, mean["zero"], mean["abstain"])
    return [" / ".join(f"{100 * value:.3g}" for value in row.tolist()) for row in rows]


def grid_game(found: dict[str, PixelResult], cells: list[str], mosaic: GridMosaics) -> str:
    """Certified grid pointing game at K = 50 % over the cells that are there, and its support in pixels."""
    if not cells:
        return "-"
    metric = CertifiedGridPG(level=0)
    places = [mosaic.cells[mosaic.predict_set.ids.index(image_id)] for image_id in cells]
    metric.update([found[image_id] for image_id in cells], places)
    value = metric.compute()
    return f"{value['certified_gridpg']:.2f} ({value['certified_gridpg_support']:.0f})"


def removal(network: nn.Module, photographs: SampleSet, found: dict[str, PixelResult], pictures: list[str]) -> str:
    """Area of certified deletion, and those of as many pixels from the centre outwards and at random."""
    if not pictures:
        return "-"
    batch = torch.stack([photographs[photographs.ids.index(image_id)].image for image_id in pictures])
    with torch.no_grad():
        targets = network(batch).argmax(1)
    metric = CertifiedDeletion(TOP_K)
    metric.update(certified_deletion(network, batch, [found[name] for name in pictures], targets, ids=pictures))
    value = {name.removeprefix("certified_deletion"): float(area) for name, area in metric.compute().items()}
    return f"{value['']:.2f} ({value['_centre']:.2f}, {value['_random']:.2f})"


def main() -> None:
    """Read the command line; certify, or print the table."""
    keep_freed_memory()  # as certify.py does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--output", type=Path, default=Path("runs/methods_table"))
    parser.add_argument("--methods", nargs="*", help="those whose name begins so; all if left out")
    arguments = parser.parse_args()
    {"run": run, "table": table}[arguments.what](arguments)


if __name__ == "__main__":
    main()
