"""Checks before a job samples or writes anything."""

import copy
from typing import Any, NamedTuple

import attrs
import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lit_certattr.attribution import frozen
from lit_certattr.callbacks.selection import recorded_selections
from lit_certattr.certificates import Certificate, Result
from lit_certattr.certification import Certifier
from lit_certattr.data import NO_LABEL, ImageDataModule, Sample, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models import without_denoiser
from lit_certattr.modules import Targets
from lit_certattr.partitions import count_regions
from lit_certattr.preflight import (
    CHECKS,
    FEW_IMAGES,
    accuracy_warning,
    check_network,
    denoiser_warning,
    logits_of,
    match_classes,
)
from lit_certattr.robustness.protocol import RobustnessProtocol
from lit_certattr.settings.discovery import check_name
from lit_certattr.smoothing import Noise


class Checked(NamedTuple):
    """Images that passed the checks.

    Attributes:
        samples: The images; their targets are indices of logits.
        class_names: Name of the class of each logit; empty if unknown.
        record: Results of the preflight, for the provenance.
    """

    samples: SampleSet
    class_names: list[str]
    record: dict[str, Any]


def check_run(
    certifier: Certifier,
    network: nn.Module,
    data: ImageDataModule,
    samples: SampleSet,
    targets: Targets,
    class_indices: list[int] | str | None,
) -> Checked:
    """Find everything that would stop a run later or make its statements wrong, before anything is written.

    Args:
        certifier: The certifier.
        network: The network, in eval mode.
        data: The data set, after ``setup``.
        samples: The images of the data set to certify.
        targets: The explained class: ``"predicted"``, ``"label"`` or ``"noisy_majority"``.
        class_indices: See :func:`~lit_certattr.preflight.match_classes`.

    Raises:
        InputError: If a check fails; the message names the fault and the remedy.
    """
    _check_names(certifier)
    image, _, image_id = samples[0]
    name = f"image {image_id}"
    size = getattr(network, "input_size", None)
    if size is not None and tuple(image.shape) != tuple(size):
        raise InputError(f"{name} has shape {tuple(image.shape)}, but {type(network).__name__} needs {tuple(size)}")
    with frozen(check_network(network)), torch.no_grad():
        logits = logits_of(network, image[None], name)
        classes = match_classes(data, samples, logits.shape[1], type(network).__name__, class_indices)
        samples = classes.samples
        if targets == "label" and NO_LABEL in samples.targets:
            unlabelled = samples.ids[samples.targets.index(NO_LABEL)]
            raise InputError(f"image {unlabelled} has no label; use --targets=predicted, or --ids with labelled images")
        clean = logits_of(without_denoiser(network), image[None], name)
        target = samples.targets[0] if targets == "label" else int(clean.argmax(1))
        certified = certifier.uncompiled_network(network, image[None])
        findings = certifier.preflight(certified, image[None], target, str(image_id), name)
        few = [samples[index] for index in range(min(len(samples), FEW_IMAGES))]
        pictures, names = [sample.image for sample in few], [str(sample.id) for sample in few]
        found = accuracy_warning(network, samples), denoiser_warning(network, pictures, certifier.noise, names)
    certifier.check_sample_size(findings.map_shape)
    _check_places(certifier, samples, findings.map_shape)
    if type(certifier.noise).check is not Noise.check:
        for image, _, image_id in (samples[index] for index in range(len(samples))):
            certifier.noise.check(image, str(image_id))
    said = [warning for warning in found if warning is not None]
    for warning in said:
        rank_zero_warn(warning, stacklevel=7)
    record = {"checks": list(CHECKS), **attrs.asdict(findings), "warnings": said}
    return Checked(samples, classes.names, record)


def check_compiled_run(
    certifier: Certifier, network: nn.Module, sample: Sample, targets: Targets, loop: Trainer
) -> dict[str, Any]:
    """Compile the network as a run will, and make the checks of :func:`check_run` with it.

    On the device and in the precision of the run, since graphs are compiled for them; the run then uses these graphs.

    Args:
        certifier: The certifier, with a ``compile_mode``.
        network: The network, in eval mode.
        sample: The first image.
        targets: The explained class, as in the run.
        loop: The Trainer of the run.

    Returns:
        Results of the checks, for the provenance.

    Raises:
        InputError: If the network cannot be compiled, or a check fails.
    """
    device, plugin, name = loop.strategy.root_device, loop.precision_plugin, f"image {sample.id}"
    half = str(loop.precision) in ("16-true", "bf16-true")
    home = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    own = plugin.convert_module(copy.deepcopy(network)) if half else network
    if certifier.memory_format == "channels_last":  # as the run will
        own.to(memory_format=torch.channels_last)
    try:
        with frozen(own.to(device)), torch.no_grad(), plugin.predict_step_context():
            image: Tensor = plugin.convert_input(sample.image.to(device))
            target = int(sample.target)
            if targets != "label":
                target = int(logits_of(without_denoiser(own), image[None], name).argmax(1))
            compiled = certifier.network(own, image[None])
            return attrs.asdict(certifier.preflight(compiled, image[None], target, str(sample.id), name))
    finally:
        own.to(home)


def check_precision(certifier: Certifier, precision: str) -> None:
    """Refuse a precision that rounds images too coarsely for a certificate.

    Args:
        certifier: The certifier.
        precision: Precision of the Trainer.

    Raises:
        InputError: If a certificate needs the noise of a sample, which is not to be found in rounded images.
    """
    for name, certificate in certifier.certificates.items():
        if certificate.needs_score and precision in ("16-true", "bf16-true"):
            raise InputError(
                f"{name} needs the noise of each sample, which cannot be recovered from images in {precision}; set "
                "precision to 32-true"
            )


def _check_names(certifier: Certifier) -> None:
    """Refuse classes that the files of a run could not tell from others of their name."""
    check_name(Noise, type(certifier.noise))
    for certificate in certifier.certificates.values():
        check_name(Certificate, type(certificate))
        check_name(Result, certificate.result)


def _check_places(certifier: Certifier, samples: SampleSet, map_shape: tuple[int, int]) -> None:
    """Find claims that do not fit the maps, and images that have no mask or cannot be divided into enough regions."""
    for image, _, image_id in (samples[index] for index in range(len(samples))):
        placed = certifier.placed(image, str(image_id))
        if (partition := placed.attribution.partition) is not None:
            map_shape = (1, count_regions(partition))
            certifier.check_sample_size(map_shape)
        placed.start(image, map_shape)  # refuses what does not fit
        if placed is certifier:  # nothing is of one image alone
            return


def check_evaluation(
    protocol: RobustnessProtocol,
    network: nn.Module,
    data: ImageDataModule,
    samples: SampleSet,
    class_indices: list[int] | str | None,
) -> SampleSet:
    """Find everything that would stop an evaluation later, before anything is written.

    Args:
        protocol: Searches and measures of agreement.
        network: The network, in eval mode.
        data: The data set, after ``setup``.
        samples: The images of the data set to evaluate.
        class_indices: See :func:`~lit_certattr.preflight.match_classes`.

    Returns:
        The images; their targets are indices of logits.

    Raises:
        InputError: If a check fails; the message names the fault and the remedy.
    """
    if NO_LABEL in samples.targets:
        raise InputError(f"image {samples.ids[samples.targets.index(NO_LABEL)]} has no label; accuracy needs labels")
    image, _, image_id = samples[0]
    with frozen(check_network(network)), torch.no_grad():
        logits = logits_of(network, image[None], f"image {image_id}")
        samples = match_classes(data, samples, logits.shape[1], type(network).__name__, class_indices).samples
        warning = accuracy_warning(network, samples)
    if warning is not None:
        rank_zero_warn(warning, stacklevel=7)
    map_shape = protocol.check(network, image, str(image_id))
    qualities = [quality for quality in protocol.qualities if quality.of_image]
    for index in range(len(samples)) if qualities else ():
        image, _, image_id = samples[index]
        for quality in qualities:
            quality.check(image, str(image_id), map_shape)
    return samples


def warn_of_selection(checkpoint: str, seed: int, samples: SampleSet) -> None:
    """Warn if a checkpoint would be certified with the same noise by which it was selected.

    Args:
        checkpoint: File of the weights.
        seed: Seed of the noise of the run.
        samples: Images to certify.
    """
    for selection in recorded_selections(checkpoint):
        if selection.seed == seed and (seen := set(selection.ids) & set(samples.ids)):
            rank_zero_warn(
                f"checkpoint {checkpoint} may have been chosen by {', '.join(selection.monitors)}, certified with seed "
                f"{seed} on {len(seen)} of these images: the run would use the noise of the selection again, and "
                f"certificates of the best of {selection.looks} networks hold at {selection.looks} times alpha only. "
                f"Give another seed, e.g. --certifier.seed={seed + 1}, and other images if possible",
                stacklevel=7,
            )
