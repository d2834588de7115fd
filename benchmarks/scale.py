"""What a run costs beside sampling, and its memory, as the number of images grows: tiny images, a trivial network.

python -m benchmarks.scale --images 1000 4000 20000                       # docs/scale.md; some minutes on one core
python -m benchmarks.scale --images 1000 4000 20000 --folder /dev/shm     # in memory: what the disk adds is left out

Each run has a process of its own. Times are CPU seconds, so another load of the machine does not count. Overhead
is all but the certifier (sampling and certificates) and the prediction and map of the clean image. The line through
the two largest runs parts it into a fixed cost and a cost per image. The fixed cost is the start and the figures, whose
curves are about 2,000 images at most, so both runs should have more.
"""

import argparse
import logging
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import result_writer
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.data import NO_LABEL, ImageDataModule, PixelArray, SampleSet
from lit_certattr.jobs import TrainerOptions, running
from lit_certattr.records.groups import Groups
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.smoothing import GaussianNoise

_SAMPLING = ("certifier", "clean image")


class Random(ImageDataModule):
    """Random images of 8 x 8 pixels in memory, without labels."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.num_classes, self.class_names, self.image_shape = 3, ["a", "b", "c"], (1, 8, 8)

    def setup(self, stage: str) -> None:
        """Draw them."""
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (self.count, 1, 8, 8), generator=generator, dtype=torch.uint8)
        ids = [f"image-{number:06d}" for number in range(self.count)]
        self.test_set = SampleSet(PixelArray(pixels), [NO_LABEL] * self.count, ids)


class Cost(NamedTuple):
    """What a run took.

    Attributes:
        images: Number of images.
        seconds: CPU seconds of the parts, and of all of it as ``"all"``.
        peak: Largest resident memory of the process in bytes.
        page: Bytes of ``report.html``.
        files: Number of files of the run.
    """

    images: int
    seconds: dict[str, float]
    peak: int
    page: int
    files: int

    @property
    def overhead(self) -> float:
        """CPU seconds beside sampling."""
        return self.seconds["all"] - sum(self.seconds[name] for name in _SAMPLING)


@contextmanager
def _timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add the time of the parts of a run to a table by name."""
    places: list[tuple[str, Any, str]] = [
        ("certifier", Certifier, "__call__"),
        ("clean image", result_writer, "clean_answers"),
        ("hash of the images", running, "run_settings"),
        ("files of the images", RunDirectory, "write"),
        ("rows of the table", result_writer, "image_rows"),
        ("groups", Groups, "pack"),
        ("table", Groups, "write_table"),
        ("page", result_writer, "write_report"),
    ]

    def timed(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                seconds[name] += time.process_time() - start

        return call

    kept = [(owner, attribute, getattr(owner, attribute)) for _, owner, attribute in places]
    for name, owner, attribute in places:
        setattr(owner, attribute, timed(name, getattr(owner, attribute)))
    try:
        yield
    finally:
        for owner, attribute, original in kept:
            setattr(owner, attribute, original)


def certifier() -> Certifier:
    """Two certificates from few samples."""
    certificates = [PixelCertificate(top_k=(0.5, 0.25)), TopKOverlapCertificate(top_k=0.25)]
    return Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples=40, batch_size=40)


def certified(count: int, output: str) -> RunDirectory:
    """Certify random images in this process.

    Args:
        count: Number of images.
        output: Directory of the run.
    """
    logging.getLogger("lit_certattr").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    options = TrainerOptions("cpu", devices=1, threads=1)
    return jobs.run(certifier(), Random(count), network, output=output, trainer=options, progress=False)


def measure(count: int, folder: str | None) -> Cost:
    """Certify random images in this process.

    Args:
        count: Number of images.
        folder: Where the run lies for as long; ``None`` for the usual folder of temporary files.
    """
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory(dir=folder) as place, _timed(seconds):
        start = time.process_time()
        run = certified(count, f"{place}/run")
        seconds["all"] = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        files = sum(path.is_file() for path in Path(place).rglob("*"))
        return Cost(count, dict(seconds), peak, run.report.stat().st_size, files)


def main() -> None:
    """Measure each number of images in a process of its own, and print what grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 4000, 20000])
    parser.add_argument("--folder", help="where the runs lie while they are measured")
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    costs = []
    for count in chosen.images:
        with context.Pool(1) as pool:
            costs.append(pool.apply(measure, (count, chosen.folder)))
        one = costs[-1]
        parts = ", ".join(f"{name} {1000 * spent / count:.2f}" for name, spent in one.seconds.items() if name != "all")
        print(f"{count:,} images: {one.seconds['all']:.1f} CPU s, beside sampling {one.overhead:.1f} s")
        print(f"  ms per image: {parts}")
        print(f"  peak {one.peak / 2**20:,.0f} MiB, page {one.page / 1e6:.2f} MB, {one.files} files", flush=True)
    *_, first, last = sorted(costs, key=lambda one: one.images) if len(costs) > 1 else costs * 2
    if last.images > first.images:
        slope = (last.overhead - first.overhead) / (last.images - first.images)
        fixed = first.overhead - slope * first.images
        print(f"overhead: {fixed:.1f} s + {1000 * slope:.2f} ms per image, by the two largest runs")
        print(f"memory: {costs[-1].peak / costs[0].peak - 1:+.1%} from the first to the last run")


if __name__ == "__main__":
    main()
