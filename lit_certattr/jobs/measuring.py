"""What certifying one image costs: a few of its samples are drawn and counted, and timed."""

import sys
import time
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.attribution import frozen
from lit_certattr.certificates import Accumulator, Result
from lit_certattr.certificates.result import results_as_bytes
from lit_certattr.certification import Certifier
from lit_certattr.certification.noisy_predictions import NoisyPredictions
from lit_certattr.errors import InputError
from lit_certattr.jobs.passes import CountedPasses, OutOfTime
from lit_certattr.preflight import explain
from lit_certattr.statistics import look_share


@attrs.frozen
class Cost:
    """What one method costs for each image, in one precision and memory format.

    Attributes:
        method: The attribution method, with its settings.
        precision: Precision of the Trainer, e.g. ``"32-true"``.
        memory_format: ``"channels_last"`` or ``"contiguous"``.
        compile_mode: Mode in which the network is compiled; ``None`` if it is not.
        refused: Why the method cannot be certified as configured, in one line; all else is ``None`` or empty then.
        samples_per_second: Samples that one process draws, explains and counts; ``None`` if one took too long.
        forward: Forward passes of the network per sample, by arithmetic; ``None`` if unknown.
        backward: Backward passes per sample, in units of one forward pass.
        smallest: By certificate, the smallest number of samples with which it can certify anything.
        bytes_per_image: Size of the files that a run stores about an image, besides figures and up to 1 KiB of settings
            per certificate; ``None`` if unknown.
        memory: Peak memory in bytes: of the accelerator, or on a CPU of the process so far; ``None`` if unknown.
        startup: Seconds that a process spends on compiling before its first sample; ``None`` if nothing is compiled. A
            process that finds the compiler's files of an earlier one spends less.
    """

    method: str
    precision: str
    memory_format: str
    compile_mode: str | None = None
    refused: str | None = None
    samples_per_second: float | None = None
    forward: float | None = None
    backward: float | None = None
    smallest: dict[str, int] = attrs.field(factory=dict)
    bytes_per_image: int | None = None
    memory: int | None = None
    startup: float | None = None

    @property
    def name(self) -> str:
        """The mode in words."""
        compiled = "" if self.compile_mode is None else f", compiled ({self.compile_mode})"
        return f"{self.precision}, {self.memory_format}{compiled}"

    @property
    def enough(self) -> int:
        """The smallest number of samples with which each certificate can certify something."""
        return max(self.smallest.values(), default=1)


class Subject(NamedTuple):
    """The image whose samples are timed.

    Attributes:
        image: Image ``[C, H, W]``, on its device.
        target: Class that is explained.
        id: Id of the image.
    """

    image: Tensor
    target: int
    id: str


def measure(
    certifier: Certifier, network: nn.Module, subject: Subject, precision: str, seconds: float, patience: float
) -> Cost:
    """Draw, explain and count samples of one image for about ``seconds``, as a run does; nothing is written.

    Args:
        certifier: The certifier.
        network: The network in eval mode, on the device of the image, in its precision and memory format. Called within
            the precision's context.
        subject: The image.
        precision: Name of the precision, for the result.
        seconds: Time for which samples are drawn, after the first ones, which are slower and not counted.
        patience: Longest time for the map of the image alone.

    Returns:
        The cost; a method that cannot be used is a cost with ``refused``.
    """
    known = Cost(repr(certifier.attribution), precision, certifier.memory_format, certifier.compile_mode)
    try:
        with torch.inference_mode(False), torch.no_grad(), frozen(network):
            return attrs.evolve(known, **_measured(certifier, network, subject, seconds, patience))
    except InputError as error:
        return attrs.evolve(known, refused=str(error))


def _measured(
    certifier: Certifier, network: nn.Module, subject: Subject, seconds: float, patience: float
) -> dict[str, Any]:
    image, target, image_id = subject
    batch = image[None]
    plain, network = certifier.uncompiled_network(network, batch), certifier.network(network, batch)
    certifier = certifier.placed(image, image_id)
    with CountedPasses() as once:
        plain(batch)
    if on_accelerator := image.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(image.device)
    begin = time.perf_counter()
    try:
        with CountedPasses(patience) as counted:
            classes = torch.tensor([target], device=image.device)
            clean_map = explain(certifier.attribution, plain, batch, classes, f"image {image_id}")
    except OutOfTime:
        return {}
    alone = time.perf_counter() - begin
    map_shape = (clean_map.shape[1], clean_map.shape[2])
    size, compiling = certifier.block_size(image), certifier.compile_mode is not None
    if not compiling:  # a compiled network takes blocks of one size
        size = max(1, min(size, int(4 * seconds / alone)))
    accumulators = certifier.start(image, map_shape)

    def draw(start: int) -> float:
        begin = time.perf_counter()
        _count(certifier, network, subject, accumulators, start, start + size)
        _wait(image.device)
        return time.perf_counter() - begin

    begin = time.perf_counter()
    if compiling:
        certifier.preflight(network, batch, target, image_id, f"image {image_id}")
    if size > 1 or compiling:
        draw(0)  # the first block of a size allocates its memory
    startup = time.perf_counter() - begin if compiling else None
    spent, blocks = 0.0, 0
    while not blocks or spent < seconds:
        blocks += 1
        spent += draw(blocks * size)
    looks = certifier.looks(map_shape)
    share = look_share(len(looks), len(looks))
    num_pixels = map_shape[0] * map_shape[1]
    return {
        "samples_per_second": blocks * size / spent,
        "forward": counted.forward / once.forward if once.forward else None,
        "backward": counted.backward / once.forward if once.forward else None,
        "smallest": {name: one.smallest_num_samples(num_pixels, share) for name, one in certifier.certificates.items()},
        "bytes_per_image": _stored(accumulators, share, image, clean_map),
        "memory": torch.cuda.max_memory_allocated(image.device) if on_accelerator else peak_of_process(),
        "startup": startup,
    }


def _count(
    certifier: Certifier,
    network: nn.Module,
    subject: Subject,
    accumulators: dict[str, Accumulator[Result]],
    start: int,
    end: int,
) -> None:
    """What the certifier does for each sample."""
    predictions = NoisyPredictions().to(subject.image.device)
    for block in certifier.blocks(network, *subject, start, end):
        for accumulator in accumulators.values():
            accumulator.update(block)
        predictions.update(block.draw, start)


def _stored(accumulators: dict[str, Accumulator[Result]], share: float, image: Tensor, clean_map: Tensor) -> int | None:
    """Bytes of the results, the image and its map."""
    try:
        results = {name: accumulator.result(share) for name, accumulator in accumulators.items()}
    except InputError:  # a certificate that needs more samples than were drawn
        return None
    return len(results_as_bytes(results)) + 4 * (image.numel() + clean_map.numel())


def _wait(device: torch.device) -> None:
    """Wait until an accelerator has done what it was asked."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_of_process() -> int | None:
    """Largest memory that this process has had so far, in bytes; ``None`` where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
