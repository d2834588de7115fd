"""Which real re-exposures of a photograph are covered: with clipping, 8-bit rounding, and JPEG.

    python -m benchmarks.re_exposures --num_samples 400

Each photograph is exposed again as a camera would: the light (sRGB made linear) times a factor, clipped at white,
encoded again and rounded to 8 bits, and once more as JPEG of quality 95. ``Result.holds_for`` says of each what is
certified for it. As a check, the benchmark draws fresh noisy copies of each covered image, and counts the labels that
hold for it and have their majority there.
"""

import argparse
import io
import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, Gradient, RegionMap
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.data import Photographs
from lit_certattr.models import EfficientNetLite0
from lit_certattr.regions import Grid
from lit_certattr.smoothing import ExposureNoise, MapBlock, Noise, NuisanceNoise, noisy_images

LAWS: dict[str, Noise] = {
    "brightness .4, sigma .5": NuisanceNoise(0.5, brightness=0.4),
    "exposure .5 stops, sigma .25": ExposureNoise(exposure=0.5, sigma=0.25),
    "exposure .5 stops, sigma .5": ExposureNoise(exposure=0.5, sigma=0.5),
}
STOPS = (-0.5, -0.25, -0.1, 0.1, 0.25)
FORMATS = ("8 bits", "JPEG 95")


class Row(NamedTuple):
    """One photograph under one re-exposure.

    Attributes:
        length: Length of the change over the standard deviation of the law.
        held: Certified important labels that hold for it.
        certified: Certified important labels of the photograph itself.
        seen: Held labels with a majority of fresh noisy copies.
    """

    length: float
    held: int
    certified: int
    seen: int


def exposed(image: Tensor, stops: float, jpeg: bool) -> Tensor:
    """A photograph with so many stops more light, as a camera writes it, float32 ``[3, H, W]``."""
    values = image.double()
    light = torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) * 2**stops
    light = light.clamp(0, 1)
    encoded = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(1e-9) ** (1 / 2.4) - 0.055)
    pixels = (encoded * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    if jpeg:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="JPEG", quality=95, subsampling=0)
        pixels = np.array(Image.open(io.BytesIO(file.getvalue())))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def majority(
    network: nn.Module, method: Attribution, law: Noise, image: Tensor, target: Tensor, name: str, size: int, count: int
) -> Tensor:
    """Regions that are in the top ``size`` of most of ``count`` fresh noisy copies, bool ``[regions]``."""
    votes: Tensor | int = 0
    for block in noisy_images(image, law, image_id=f"fresh {name}", num_samples=count, batch_size=32, seed=1):
        votes = votes + MapBlock(method(network, block, target.expand(len(block))).detach()).votes(size)
    assert isinstance(votes, Tensor)
    return votes[0] > count / 2


def rows_of(
    network: nn.Module, law: Noise, image: Tensor, name: str, cells: int, samples: int, fresh: int
) -> dict[str, Row]:
    """All re-exposures of one photograph, by stops and format."""
    run = Certifier(
        RegionMap(Gradient(), Grid(cells)), law, [PixelCertificate([0.5])], num_samples=samples, batch_size=32
    )
    target = network(image[None]).argmax(1)
    result = run(network, image[None], target, ids=[name])[0]["pixel"]
    assert isinstance(result, PixelResult)
    method, important = run.placed(image, name).attribution, result.labels[0, 0] == 1
    found = {}
    for stops in STOPS:
        for kind in FORMATS:
            other = exposed(image, stops, kind != FORMATS[0])
            length = result.holds_for(image, other).length
            kept = important & (result.radius[0, 0] > length) if math.isfinite(length) else important & False
            seen = 0
            if bool(kept.any()):
                copies = majority(network, method, law, other, target, name, result.sizes[0], fresh)
                seen = int((copies & kept).sum())
            key = f"{stops:+g} stops, {kind}"
            found[key] = Row(length / result.scale, int(kept.sum()), int(important.sum()), seen)
    return found


def main() -> None:
    """Run both laws and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_samples", type=int, default=400, help="samples per photograph")
    parser.add_argument("--size", type=int, default=64, help="height and width of the photographs")
    parser.add_argument("--cells", type=int, default=4, help="regions in each direction")
    parser.add_argument("--fresh", type=int, default=100, help="noisy copies of each covered re-exposure")
    options = parser.parse_args()
    network, data = EfficientNetLite0().eval(), Photographs(size=options.size)
    data.setup("predict")
    images = {data.predict_set.ids[index]: data.predict_set[index].image for index in range(len(data.predict_set))}
    numbers = options.cells, options.num_samples, options.fresh
    tables = {
        name: {key: rows_of(network, law, image, key, *numbers) for key, image in images.items()}
        for name, law in LAWS.items()
    }
    print("| re-exposure | " + " | ".join(f"{name}: covered | labels | length" for name in LAWS) + " |")
    print("|---" * (1 + 3 * len(LAWS)) + "|")
    for key in next(iter(next(iter(tables.values())).values())):
        cells = []
        for table in tables.values():
            rows = [table[name][key] for name in images]
            share = np.mean([row.held / max(1, row.certified) for row in rows])
            length = float(np.median([row.length for row in rows]))
            cells.append(f"{sum(row.held > 0 for row in rows)} of {len(rows)} | {share:.2f} | {length:.2f}")
        print(f"| {key} | {' | '.join(cells)} |")
    for name, table in tables.items():
        rows = [row for found in table.values() for row in found.values()]
        held, seen = sum(row.held for row in rows), sum(row.seen for row in rows)
        print(f"{name}: {seen} of {held} labels that hold have their majority in {options.fresh} fresh copies")


if __name__ == "__main__":
    main()
