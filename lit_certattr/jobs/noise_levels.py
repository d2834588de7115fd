"""The job ``sigmas``: which noise level suits a network, seen on a handful of images before a long run."""

import copy
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import attrs
import torch
from lightning import LightningDataModule
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from lit_certattr.attribution import frozen
from lit_certattr.certificates import PixelCertificate, Result
from lit_certattr.certificates.capabilities import HasSmoothedMap
from lit_certattr.certificates.noisy_accuracy import LOW
from lit_certattr.certification import NOISY_MAJORITY, Certifier
from lit_certattr.certification.trial import Trial
from lit_certattr.data import Sample, as_image_data
from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import write_whole
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.checks import check_run
from lit_certattr.jobs.parts import open_network, read_samples, with_samples
from lit_certattr.jobs.trainer import TrainerOptions, make_trainer, use_threads
from lit_certattr.metrics import metrics_for
from lit_certattr.metrics.functional import top_k_intersection
from lit_certattr.models import Denoised
from lit_certattr.modules import Targets
from lit_certattr.preflight import explain, logits_of
from lit_certattr.records.table import check_radii
from lit_certattr.reports.sigmas_figure import sigmas_figure
from lit_certattr.settings import real_number, several, whole_number
from lit_certattr.smoothing import Noise

SIGMAS = (0.05, 0.1, 0.15, 0.25, 0.5)
"""Noise levels that are tried unless the user gives others."""
_VOTES = "agreement with the clean map"
"""Name of the certificate whose votes show where the smoothed map has its top K."""
_TABLE, _FIGURE = "sigmas.csv", "sigmas.png"


@attrs.frozen
class NoiseLevels:
    """What was found at all noise levels.

    Attributes:
        trials: One per network and noise level.
        ids: Ids of the images.
        path: Directory with ``sigmas.csv`` and ``sigmas.png``; ``None`` if nothing was written.
    """

    trials: Sequence[Trial]
    ids: Sequence[str]
    path: Path | None = None

    def sensible_sigma(self, network: str) -> float | None:
        """The largest noise level at which at least half of the noisy copies are predicted as the explained class.

        Larger noise gives larger radii, but beyond this level the map explains a class that the network does not see.

        Args:
            network: ``"plain"`` or ``"denoised"``.

        Returns:
            The level; ``None`` if there is none among those tried.
        """
        seen = [trial.sigma for trial in self.trials if trial.network == network and trial.noisy_accuracy >= LOW]
        return max(seen, default=None)

    @property
    def networks(self) -> list[str]:
        """The networks, in the order of the trials."""
        return list(dict.fromkeys(trial.network for trial in self.trials))

    def advice(self) -> list[str]:
        """One sentence for each network: which noise level to use, or what to do instead."""
        lines = []
        for network in self.networks:
            sigma = self.sensible_sigma(network)
            if sigma is not None:
                lines.append(
                    f"{network} network: sigma = {sigma:g} is the largest of these noise levels at which it recognises "
                    "at least half of the noisy copies"
                )
                continue
            remedy = "train with noise" if network == "denoised" else "denoise (Denoised), or train with noise"
            lines.append(
                f"{network} network: it recognises less than half of the noisy copies at every one of these levels, so "
                f"its smoothed maps explain a class that it does not see; try smaller noise, or {remedy}"
            )
        return lines

    def table(self) -> bytes:
        """All trials as CSV."""
        text = io.StringIO()
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.certified))
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["network", "sigma", "noisy_accuracy", "agreement_with_clean_map", *names])
        for trial in self.trials:
            found = [trial.certified.get(name) for name in names]
            rows.writerow([trial.network, trial.sigma, trial.noisy_accuracy, trial.agreement, *found])
        return text.getvalue().encode()


@checked
def try_sigmas(
    certifier: Certifier,
    data: LightningDataModule,
    network: nn.Module | None = None,
    checkpoint: str | None = None,
    targets: Targets = "predicted",
    sigmas: Sequence[float] = SIGMAS,
    radii: Sequence[float] | None = None,
    agreement_k: float = 0.25,
    output: str | Path | None = None,
    overwrite: bool = False,
    num_samples: int = 100,
    seed: int | None = None,
    ids: list[str] | None = None,
    max_images: int = 4,
    class_indices: list[int] | str | None = None,
    weights_key: str | None = None,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008  (never changed)
    progress: bool = True,
) -> NoiseLevels:
    """Try several noise levels on a handful of images, before a long run.

    For every noise level: the share of noisy copies that the network recognises, how far the smoothed map agrees with
    the map of the clean image, and what the certificates certify. A denoised network is tried with and without its
    denoiser; the explained class is that of the plain network for both. The certificates are valid as in a run, each
    at its own alpha; a noise level that was chosen by them must be certified again with another seed and other images.

    Args:
        certifier: Certifier with method, noise law and certificates; the level of its noise is replaced.
        data: Images; the first ``max_images`` of the test set are used.
        network: Network from images in [0, 1] to logits. Not needed if the checkpoint names its network.
        checkpoint: Weights (.ckpt, .pt, .pth, .safetensors), loaded without running any code from the file. A
            checkpoint of ``train.py fit`` also rebuilds its network.
        targets: The explained class: ``predicted`` for the clean image, or the ``label`` of the image. Not the
            ``noisy_majority``: that class may be another one at each level, and a network may agree with itself about
            a class that it sees in noise alone.
        sigmas: Noise levels, in units of pixels in [0, 1].
        radii: Radii at which the certificates are compared, in the unit of the budget. Default: 0.1; for patches and
            regions 1 to 4.
        agreement_k: Share of the pixels whose agreement with the clean map is measured.
        output: Directory for ``sigmas.csv`` and ``sigmas.png``; ``None`` writes nothing.
        overwrite: Replace these two files.
        num_samples: Noisy samples per image and noise level.
        seed: Seed of the noise; replaces ``certifier.seed``.
        ids: Try only these images.
        max_images: Use only the first so many images.
        class_indices: Index of the network's logit for each class of the data, in the order of the data's class names.
            Needed if the data have only some of the network's classes, e.g. two folders and a network of 1000 classes.
            A text is the path of a file that names the logits (JSON, CSV or text, see
            :class:`~lit_certattr.data.ClassMap`).
        weights_key: Name of the weights in the checkpoint, if it contains several sets (e.g. also an average).
        trainer: Device and threads; the levels are tried in precision ``32-true``, on the first device.
        progress: Whether to show the progress on stderr.

    Returns:
        The trials, see :class:`NoiseLevels`.

    Raises:
        InputError: If a setting, a file or an image cannot be used; nothing is written then.
    """
    use_threads(trainer.threads)
    levels = [_with_sigma(certifier.noise, sigma) for sigma in several("sigmas", sigmas, "[0.1, 0.25]")]
    if not levels:
        raise InputError("sigmas must hold at least one noise level, e.g. [0.1, 0.25]")
    if len({level.sigma for level in levels}) < len(levels):
        raise InputError(f"sigmas must differ, got {list(sigmas)}: name each noise level once")
    radii = certifier.noise.budget.usual_radii((0.1,)) if radii is None else radii
    check_radii(radii)
    if not 0 < real_number("agreement_k", agreement_k) < 1:
        raise InputError(f"agreement_k must be a share of the pixels between 0 and 1, got {agreement_k}")
    if trainer.precision != "32-true":
        raise InputError(
            f"noise levels are tried in precision 32-true, got {trainer.precision}: certify some images with run"
        )
    if targets == NOISY_MAJORITY:
        raise InputError(
            "noise levels are compared for one class, but the noisy majority may be another class at each level: "
            "use --targets=predicted or --targets=label here, and noisy_majority in the run"
        )
    path = None if output is None else _free(Path(output), overwrite)
    certifier = with_samples(certifier, whole_number("num_samples", num_samples, least=1), seed)
    certifier.certificates = {**certifier.certificates, _VOTES: PixelCertificate([agreement_k])}
    network, data = open_network(network, checkpoint, weights_key), as_image_data(data)
    samples = read_samples(data, ids, max_images)
    strongest = max(levels, key=lambda level: level.sigma)  # once: the check maps labels to logits
    samples = check_run(_at(certifier, strongest), network, data, samples, targets, class_indices).samples
    device = make_trainer(trainer).strategy.root_device
    networks: dict[str, nn.Module] = {"plain": network}
    if isinstance(network, Denoised):
        networks = {"plain": network.network, "denoised": network}
    plain = next(iter(networks.values()))
    images = [_prepared(certifier, samples[index], plain, targets, device) for index in range(len(samples))]
    todo = [(name, level) for name in networks for level in levels]
    shown = track(todo, "trying noise levels", console=Console(stderr=True), disable=not progress)
    trials = [_try(name, networks[name], _at(certifier, level), images, radii, agreement_k) for name, level in shown]
    found = NoiseLevels(trials, [image.id for image in images], path)
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        write_whole(path / _TABLE, found.table())
        write_whole(path / _FIGURE, sigmas_figure(found.trials))
    return found


class _Image(NamedTuple):
    pixels: Tensor
    id: str
    target: int
    clean_map: Tensor


def _prepared(
    certifier: Certifier, sample: Sample, network: nn.Module, targets: Targets, device: torch.device
) -> _Image:
    """An image with its class and its map by the network without a denoiser."""
    pixels, image_id, name = sample.image[None].to(device), str(sample.id), f"image {sample.id}"
    with frozen(network.to(device)), torch.no_grad():
        target = int(sample.target) if targets == "label" else int(logits_of(network, pixels, name).argmax())
        method = certifier.attribution.placed(pixels[0], image_id)
        clean_map = explain(method, network, pixels, torch.tensor([target], device=device), name)[0]
    return _Image(pixels, image_id, target, clean_map)


def _try(
    name: str,
    network: nn.Module,
    certifier: Certifier,
    images: Sequence[_Image],
    radii: Sequence[float],
    agreement_k: float,
) -> Trial:
    """One network at one noise level, for all images."""
    network = network.to(images[0].pixels.device)
    results = [certifier(network, image.pixels, [image.target], [image.id])[0] for image in images]
    certified: dict[str, float] = {}
    for key, certificate in certifier.certificates.items():
        if key != _VOTES and (metrics := metrics_for(certificate, radii)) is not None:
            metrics.update([one[key] for one in results])
            values = {metric: float(value) for metric, value in metrics.compute().items()}
            certified |= {f"{key}/{metric}": value for metric, value in values.items()}
    votes = [one[_VOTES] for one in results]
    agreements = [_agreement(one, image.clean_map, agreement_k) for one, image in zip(votes, images, strict=True)]
    accuracies = [one.noisy_accuracy or 0.0 for one in votes]
    return Trial(
        name,
        certifier.noise.sigma,
        mean(accuracies),
        mean(agreements),
        certified,
    )


def _agreement(votes: Result, clean_map: Tensor, agreement_k: float) -> float:
    """Share of the K pixels that are most often in the top K of the noisy maps that the clean map has there too."""
    assert isinstance(votes, HasSmoothedMap)
    return float(top_k_intersection(clean_map.float().cpu(), votes.smoothed_map().float().cpu(), agreement_k))


def _with_sigma(noise: Noise, sigma: float) -> Noise:
    """The same noise law at another level."""
    settings = noise.init_args()
    if "sigma" not in settings:
        raise InputError(f"{type(noise).__name__} has no setting sigma, so other levels of it cannot be tried")
    return type(noise)(**settings | {"sigma": sigma})


def _at(certifier: Certifier, noise: Noise) -> Certifier:
    """A copy of the certifier with another noise law."""
    other = copy.copy(certifier)
    other.noise = noise
    return other


def _free(path: Path, overwrite: bool) -> Path:
    """The directory, if the two files may be written there."""
    taken = [path / name for name in (_TABLE, _FIGURE) if (path / name).exists()]
    if taken and not overwrite:
        raise InputError(f"{taken[0]} exists; choose another --output, or --overwrite to replace it")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is not a directory; choose another --output")
    return path
