"""Which part of a map is certified against changes that a user can picture, law by law, and what attacks find.

    python -m benchmarks.budgets                   # the photographs, EfficientNet-Lite0
    python -m benchmarks.budgets --data mnist5k    # digits, a small network trained with Gaussian noise

Each law is a run of its own on the same images: the gradient by 14 x 14 regions, K = 50 %, alpha .001. A row has the
share of the K regions whose label is certified for all changes of one kind (their length is below the radius), and the
same share under Gaussian noise without any other part.

Attack: of a grid of changed images of this kind, ends included (of contrast: of the edge of its whole budget, with
brightness), the one is sought at which most of the certified labels are lost, by votes of fresh noise. There other
fresh noise decides. "Hold": certified labels with the majority of it. "False": those that have no majority at a
confidence of 1 - 1e-4 for all labels of an image together; there must be none.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.budget_changes import Change, all_changes
from benchmarks.networks import network_and_data
from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, Gradient, RegionMap
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.data import ImageDataModule
from lit_certattr.regions import Grid
from lit_certattr.smoothing import (
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    MapBlock,
    Noise,
    NuisanceNoise,
    PatchMaskNoise,
    noisy_images,
)
from lit_certattr.statistics import clopper_pearson_upper

TOP_K, ALPHA, REGIONS = 0.5, 0.001, 14


def all_laws(cells: int) -> dict[str, Noise]:
    """The noise laws of the tables by the name of what they are made for.

    Args:
        cells: Patches in each direction.
    """
    return {
        "l2 alone": GaussianNoise(0.25),
        "brightness": NuisanceNoise(0.25, brightness=0.2),
        "exposure": ExposureNoise(exposure=0.5, sigma=0.25),
        "gamma": GammaNoise(log_gamma=0.4, sigma=0.25),
        "contrast": AffineNoise(log_contrast=0.3, brightness=0.2, sigma=0.25),
        "blur": BlurNoise(rate=1.0, sigma=0.25),
        "patches": PatchMaskNoise(keep=0.25, cells=cells, sigma=0.25),
    }


@dataclass(frozen=True)
class Effort:
    """How much is computed.

    Attributes:
        num_samples: Samples of a certificate.
        batch_size: Samples at once.
        points: Changed images of a grid; 0 for no attack.
        search: Noisy copies of each of them.
        fresh: Noisy copies of the worst of them.
        attacked: Images that are attacked.
    """

    num_samples: int
    batch_size: int
    points: int
    search: int
    fresh: int
    attacked: int


@dataclass
class Row:
    """One kind of change under one law, an entry for each image.

    Attributes:
        shares: Certified shares of K.
        kept: Number of certified labels.
        held: How many of them have a majority at the worst image.
        false: How many of them have surely none.
    """

    shares: list[float] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    false: list[int] = field(default_factory=list)


@dataclass
class Certified:
    """What is certified under one law.

    Attributes:
        accuracy: Share of noisy copies of each image that keep the class.
        any: Share of K that is certified at all.
        rows: One for each kind of change, by name.
    """

    accuracy: list[float] = field(default_factory=list)
    any: list[float] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)


def certified(
    network: nn.Module, images: Sequence[Tensor], law: Noise, changes: Sequence[Change], effort: Effort
) -> Certified:
    """Certify images under one law, and attack what is certified for the changes that it is made for.

    Args:
        network: Network in eval mode.
        images: Images ``[C, H, W]``.
        law: The noise.
        changes: Kinds of changes.
        effort: How much is computed.
    """
    found = Certified(rows={change.name: Row() for change in changes})
    certificates = [PixelCertificate([TOP_K], alpha=ALPHA)]
    method = RegionMap(Gradient(), Grid(REGIONS))
    run = Certifier(method, law, certificates, num_samples=effort.num_samples, batch_size=effort.batch_size)
    for index, image in enumerate(images):
        with torch.no_grad():
            target = network(image[None]).argmax(1)
        result = run(network, image[None], target, ids=[str(index)])[0]["pixel"]
        assert isinstance(result, PixelResult)
        important, radius = result.labels[0, 0] == 1, result.radius[0, 0].double()
        size = result.sizes[0]
        found.accuracy.append(result.noisy_accuracy or 0.0)
        found.any.append(float(important.sum()) / size)
        for change in changes:
            row, length = found.rows[change.name], change.length(law.budget, image)
            kept = important & (radius > length)
            row.shares.append(float(kept.sum()) / size)
            if index < effort.attacked and effort.points and bool(kept.any()):
                points = change.points(law.budget, image, length, effort.points)
                held, false = attacked(
                    _Votes(network, run.placed(image, str(index)).attribution, law, target, size), points, kept, effort
                )
                row.kept.append(int(kept.sum()))
                row.held.append(held)
                row.false.append(false)
    return found


@dataclass(frozen=True)
class _Votes:
    network: nn.Module
    method: Attribution
    law: Noise
    target: Tensor
    size: int

    def __call__(self, image: Tensor, name: str, count: int) -> Tensor:
        """Number of fresh noisy copies in whose top K each region is ``[regions]``."""
        votes = torch.zeros(REGIONS**2)
        for block in noisy_images(image, self.law, image_id=name, num_samples=count, batch_size=64, seed=1):
            for part in block.split(16):
                maps = self.method(self.network, part, self.target.expand(len(part)))
                votes += MapBlock(maps.detach()).votes(self.size)[0]
        return votes


def attacked(
    votes: Callable[[Tensor, str, int], Tensor], points: Iterable[Tensor], kept: Tensor, effort: Effort
) -> tuple[int, int]:
    """Certified labels that hold at the worst of some changed images, and those that are false there.

    Args:
        votes: Number of noisy copies of an image in whose top K each region is, from image, name and number of copies.
        points: Changed images.
        kept: Certified regions, bool ``[regions]``.
        effort: How much is computed.
    """

    def harm(point: Tensor) -> float:
        share = votes(point, "search", effort.search)[kept] / effort.search  # the same noise at all points
        return float((share <= 0.5).sum() - share.mean())

    fresh = votes(max(points, key=harm), "fresh", effort.fresh)[kept]
    most = clopper_pearson_upper(fresh.numpy().astype(int), effort.fresh, 1e-4 / int(kept.sum()))
    return int((fresh > effort.fresh / 2).sum()), int((most < 0.5).sum())


def chosen(data: ImageDataModule, count: int) -> list[Tensor]:
    """The first images of the data, or those to explain if it has no others.

    Args:
        data: Data; it is set up here.
        count: Most images.
    """
    data.setup("predict")
    samples = data.predict_set
    assert samples is not None
    return [samples[index].image for index in range(min(count, len(samples)))]


def main() -> None:
    """Run all laws and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["photographs", "mnist5k"], default="photographs")
    parser.add_argument("--num_samples", type=int, help="samples per image; default 200, for digits 1000")
    parser.add_argument("--images", type=int, default=20, help="most images")
    parser.add_argument("--attacked", type=int, default=20, help="images that are attacked")
    parser.add_argument("--points", type=int, help="changed images that are tried; default 5, for digits 9")
    parser.add_argument("--search", type=int, help="noisy copies of each of them; default 8, for digits 64")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, data, _ = network_and_data(options.data)
    images = chosen(data, options.images)
    large = options.data == "photographs"
    effort = Effort(
        options.num_samples or (200 if large else 1000),
        16 if large else 128,
        points=options.points or (5 if large else 9),
        search=options.search or (8 if large else 64),
        fresh=40 if large else 200,
        attacked=options.attacked,
    )
    cells = 14 if large else 7
    laws, changes = all_laws(cells), all_changes(cells)
    alone = certified(network, images, laws["l2 alone"], changes, replace(effort, attacked=0))
    print(f"{laws['l2 alone']}: noisy accuracy {_mean(alone.accuracy)}, certified at all {_mean(alone.any)}\n")
    print("| change | noise | noisy accuracy | certified at all | certified | l2 alone | hold at the worst | false |")
    print("|---" * 8 + "|")
    for name, law in laws.items():
        own = [change for change in changes if change.law == name]
        found = certified(network, images, law, own, effort) if own else alone
        for change in own:
            row, before = found.rows[change.name], _mean(alone.rows[change.name].shares)
            cells_of_row = [
                change.name,
                f"`{short(law)}`",
                *(_mean(values) for values in (found.accuracy, found.any, row.shares)),
                before,
                f"{sum(row.held)} of {sum(row.kept)}",
                str(sum(row.false)),
            ]
            print(f"| {' | '.join(cells_of_row)} |", flush=True)


def short(law: Noise) -> str:
    """A law with the settings that were given.

    Args:
        law: A law whose settings are numbers.
    """
    given = {name: value for name, value in law.settings().items() if value is not None and not name.endswith("order")}
    return f"{type(law).__name__}({', '.join(f'{name}={value:g}' for name, value in given.items())})"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}"


if __name__ == "__main__":
    main()
