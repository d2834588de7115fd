"""What stopping early saves, and what it costs, on maps of real images.

    python -m benchmarks.early_stopping table --data mnist5k --images 50
    python -m benchmarks.early_stopping table --data photographs --images 3
    python -m benchmarks.early_stopping cost

`table` draws all samples of each image once and keeps the counts at every look. From the same counts it derives the
certificate of every fixed number of samples (with all of alpha), and what each stopping rule would have
released (with the share of its look). "kept" is the certified count over that of the largest fixed number, both summed
over the images. "equal" is the fixed number, interpolated between the looks, that certifies as much as the rule,
and "saved at equal" the rule's saving against *that*: what the rule itself is worth, beside asking for fewer samples.
`cost` is the time of all statistics of one image against that of its samples.
"""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch

from benchmarks.networks import SIGMA, network_and_data
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, frozen
from lit_certattr.certificates import (
    ABSTAIN,
    Certificate,
    OverlapResult,
    PixelCertificate,
    PixelResult,
    Result,
    TopKOverlapCertificate,
)
from lit_certattr.certificates.capabilities import CountsPixels, Rederivable
from lit_certattr.certification import AllDecided, Futility, Look, OverlapStable, StoppingRule
from lit_certattr.models import EfficientNetLite0
from lit_certattr.smoothing import GaussianNoise, noisy_images
from lit_certattr.statistics import kt_lower, look_share

CERTIFICATES: Mapping[str, Certificate] = {
    "pixels, tau 0.75": PixelCertificate(top_k=[0.2], tau=0.75),
    "pixels, tau 0.75, Holm": PixelCertificate(top_k=[0.2], tau=0.75, correction="holm"),
    "pixels, tau 0.5, K = 50, 25, 10 %": PixelCertificate(top_k=[0.5, 0.25, 0.1]),
    "overlap of the top 20 %": TopKOverlapCertificate(top_k=0.2),
}
RULES: Sequence[StoppingRule] = (
    Futility(0.1),
    Futility(0.05),
    Futility(0.03),
    AllDecided(1.0),
    AllDecided(0.8),
)


class Recorder(StoppingRule):
    """Never stops, and keeps what the looks have shown."""

    looks: list[Look]

    def stop(self, looks: Sequence[Look]) -> bool:
        """Keep them."""
        self.looks = list(looks)
        return False


def record(name: str, num_images: int, num_samples: int) -> list[list[Look]]:
    """The looks at each image."""
    network, data, batch_size = network_and_data(name)
    data.setup("predict")
    samples, recorder, found = data.predict_set, Recorder(), []
    certificates = {f"c{index}": certificate for index, certificate in enumerate(CERTIFICATES.values())}
    certifier = Certifier(Gradient(), GaussianNoise(SIGMA), certificates, num_samples, batch_size, stopping=[recorder])
    for index in range(min(num_images, len(samples))):
        image, _, image_id = samples[index]
        certifier(network, image[None], None, [str(image_id)])
        found.append(recorder.looks)
    return found


def count(result: Result) -> int:
    """What is certified."""
    assert isinstance(result, CountsPixels)
    return result.certified_count()[0]


def with_share(result: Result, share: float) -> Result:
    """The result of the same counts, had it spent this share of alpha."""
    spent = attrs.evolve(result, alpha_share=share)
    assert isinstance(spent, Rederivable)
    derived = spent.rederive()
    assert isinstance(derived, Result)
    return derived


def with_all_of_alpha(result: Result) -> Result:
    """The result of the same counts, had their number been fixed in advance."""
    return with_share(result, 1.0)


def print_table(data: str, images: Sequence[Sequence[Look]]) -> None:
    """Print one table a certificate.

    Args:
        data: Name of the images.
        images: The looks at each.
    """
    print(f"{data}: {len(images)} images, at most {images[0][-1].num_samples} samples, sigma = {SIGMA}")
    for index, title in enumerate(CERTIFICATES):
        name = f"c{index}"
        runs = [[look._replace(results={name: look.results[name]}) for look in looks] for looks in images]
        sizes = [look.num_samples for look in runs[0]]
        fixed = np.array([[count(with_all_of_alpha(look.results[name])) for look in run] for run in runs])
        most = max(int(fixed[:, -1].sum()), 1)
        kept = fixed.sum(0) / most
        first = [run[0].results[name] for run in runs]
        total = sum(result.certified_count()[1] for result in first if isinstance(result, CountsPixels))
        print(f"\n{title}: {most / total:.1%} of {total:,} certified by {sizes[-1]:,} samples\n")
        print("| rule | mean samples | saved | kept | equal | saved at equal |")
        print("|---|---|---|---|---|---|")
        for size, share in zip(sizes, kept, strict=True):
            print(f"| fixed {size:,} | {size:,} | {1 - size / sizes[-1]:.0%} | {share:.1%} | | |")
        rules = (*RULES, OverlapStable(0.02)) if "overlap" in title else RULES
        for rule in rules:
            ends = [next((i for i in range(len(run)) if rule.stop(run[: i + 1])), len(run) - 1) for run in runs]
            drawn = statistics.mean(run[end].num_samples for run, end in zip(runs, ends, strict=True))
            share = sum(count(run[end].results[name]) for run, end in zip(runs, ends, strict=True)) / most
            equal = 2 ** np.interp(share, kept, np.log2(sizes))
            line = f"| {rule!r} | {drawn:,.0f} | {1 - drawn / sizes[-1]:.0%} | {share:.1%} "
            print(line + f"| {equal:,.0f} | {1 - drawn / equal:.0%} |", flush=True)
        print_shares(runs, name)
        if "tau 0.75" in title and "Holm" not in title:
            print_bounds(runs, name)


def radius(result: Result) -> float:
    """Mean radius of the certified labels, or the radius of a quarter of K."""
    if isinstance(result, PixelResult):
        return float(result.radius[result.labels != ABSTAIN].double().mean())
    assert isinstance(result, OverlapResult)
    return result.max_radius(0.25)


def print_shares(runs: Sequence[Sequence[Look]], name: str) -> None:
    """What the same counts certify at the last look and at the first ones, by how alpha is shared by the looks."""
    print("\n| samples | equal shares: certified, radius | half for the last: certified, radius | all of alpha |")
    print("|---|---|---|---|")
    looks = len(runs[0])
    for position in sorted({1, looks // 2, looks - 1}):
        cells = []
        for share in (1 / looks, look_share(position + 1, looks), 1.0):
            results = [with_share(run[position].results[name], share) for run in runs]
            radii = [value for value in map(radius, results) if not np.isnan(value)]
            cells.append(f"{sum(map(count, results)):,}, {statistics.mean(radii or [0.0]):.4f}")
        print(f"| {runs[0][position].num_samples:,} | " + " | ".join(cells) + " |", flush=True)


def print_bounds(runs: Sequence[Sequence[Look]], name: str) -> None:
    """What each kind of bound certifies of the votes above tau: fixed, looks, and valid at every single sample."""
    print("\n| samples | fixed number | looks (union) | every sample (KT) |")
    print("|---|---|---|---|")
    for position in range(len(runs[0])):
        shares = []
        for run in runs:
            result = run[position].results[name]
            assert isinstance(result, PixelResult)
            n, votes = result.num_samples, result.votes
            level = result.alpha / votes.numel() / 2  # either label
            enough = kt_lower(np.arange(n + 1), n, level) >= result.tau
            mixture = enough[votes.numpy()].sum() + enough[n - votes.numpy()].sum()
            shares.append((count(with_all_of_alpha(result)), count(result), int(mixture)))
        print(f"| {n:,} | " + " | ".join(f"{value:,}" for value in np.sum(shares, 0)) + " |")


def print_cost() -> None:
    """Print the time of the statistics at 224x224 against that of the samples."""
    torch.set_num_threads(1)
    network, noise, n = EfficientNetLite0().eval().requires_grad_(False), GaussianNoise(SIGMA), 1000
    image, target = torch.rand(3, 224, 224), torch.zeros(16, dtype=torch.long)
    certifier = Certifier(
        Gradient(),
        noise,
        {"pixel": PixelCertificate(), "topk_overlap": TopKOverlapCertificate()},
        n,
        stopping=[Futility()],
    )
    looks = certifier.looks((224, 224))
    maps = torch.rand(16, 224, 224)
    seconds: dict[str, list[float]] = {"statistics": [], "samples": []}
    for repetition in range(4):
        accumulators: list[Any] = list(certifier.start(image, (224, 224)).values())  # both have votes
        spent = 0.0
        for number, look in enumerate(looks, 1):
            for accumulator in accumulators:
                accumulator.update(maps)
                accumulator.num_samples.fill_(look)
                accumulator.votes.random_(0, look + 1)  # any counts cost the same
            begin = time.process_time()
            for accumulator in accumulators:
                accumulator.result(look_share(number, len(looks)))
            spent += time.process_time() - begin
        block = next(noisy_images(image, noise, image_id="cost", num_samples=16, batch_size=16))
        begin = time.process_time()
        with frozen(network):
            images = block.detach().requires_grad_(True)
            torch.autograd.grad(network(images).gather(1, target[:, None]).sum(), images)
        sampling = (time.process_time() - begin) / 16 * n
        if repetition:  # the first also pays for tables, which later images share
            seconds["statistics"].append(spent)
            seconds["samples"].append(sampling)
        else:
            print(f"first image, tables included: statistics {spent:.3f} s")
    own, all_samples = statistics.median(seconds["statistics"]), statistics.median(seconds["samples"])
    print(
        f"{len(looks)} looks: statistics {own:.3f} s, {n} samples {all_samples:.1f} s of CPU, {own / all_samples:.2%}"
    )


def main() -> None:
    """Read the command line and run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "cost"])
    parser.add_argument("--data", choices=["mnist5k", "photographs"], default="mnist5k")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--samples", type=int, default=2048)
    arguments = parser.parse_args()
    if arguments.what == "cost":
        print_cost()
    else:
        print_table(arguments.data, record(arguments.data, arguments.images, arguments.samples))


if __name__ == "__main__":
    main()
