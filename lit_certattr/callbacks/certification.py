"""Certificates during training: a few fixed images are certified in every validation."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import CombinedLoader, rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, distributed, nn

from lit_certattr.attribution import frozen
from lit_certattr.callbacks.loggers import MAX_PICTURES, describe_run, log_certificates, log_figures, picture_loggers
from lit_certattr.callbacks.network import network_of, refuse_hooks
from lit_certattr.callbacks.sampling_progress import sampling_progress
from lit_certattr.callbacks.selection import KEY, Selection, alpha_after_selection, certified_monitors
from lit_certattr.certificates import Result
from lit_certattr.certificates.noisy_accuracy import warning
from lit_certattr.certification import Certifier
from lit_certattr.data import NO_LABEL
from lit_certattr.errors import InputError
from lit_certattr.metrics import NoisyAccuracy
from lit_certattr.metrics.naming import PREFIX, named_metrics
from lit_certattr.models import without_denoiser
from lit_certattr.modules import Targets
from lit_certattr.modules.certification import given_targets
from lit_certattr.preflight import FEW_IMAGES, check_network, denoiser_warning, logits_of
from lit_certattr.records.table import rows
from lit_certattr.reports import image_panel
from lit_certattr.reports.certification_settings import certification_settings
from lit_certattr.settings import instance, real_number, several, whole_number
from lit_certattr.smoothing import content_id
from lit_certattr.statistics.rounding import total

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RADII = (0.05, 0.1, 0.25)
"""Radii of the metrics under laws whose lengths are no whole numbers."""
log = logging.getLogger(__name__)


class _Chosen(NamedTuple):
    """An image that is certified in every validation; its tensor is on the CPU."""

    position: int
    image: Tensor
    label: int
    id: str | None


class CertificationCallback(Callback):
    """Certifies a fixed small set of validation images, and logs how much of their attribution maps is certified.

    Works in the validation of ``fit`` and in ``trainer.validate()``, with any ``inference_mode`` of the Trainer, on
    the module's device and in the Trainer's precision. The images are the first ``num_images`` of the validation
    data sets, in their order; with several processes each process certifies its share, and no image is certified twice.
    The callback does not influence training: random states, modes, flags, gradients and buffers stay unchanged.

    Logged for each level K of the certificate (``k25``: 25 % of the pixels, ``k200px``: 200 pixels) and radius R
    (``r0_10``: 0.10 in pixel l2 units), means over the images:

    ========================================  ==================================================================
    ``certified/fraction_k25_r0_10``          pixels certified important or unimportant, share of all pixels
    ``certified/null_k25_r0_10``              the same for independent random maps: the baseline
    ``certified/one_share_k25_r0_10``         pixels certified important, as a share of K; may exceed 1
    ``certified/mean_radius_k25``             certified radius, 0 where the certificate abstains
    ``certified/overlap_k20_r0_10``           certified top-K overlap, as a share of K
    ``certified/noisy_accuracy``              noisy copies that are predicted as the explained class (no level, no R)
    ========================================  ==================================================================

    If the noisy accuracy of an image is below one half, its map explains a class that the network hardly sees under
    this noise; the first validation in which that happens logs a warning. So does the first in which a denoiser in
    front of the network removes no noise (:func:`~lit_certattr.preflight.denoiser_warning`).

    If you give a certificate a name, the names of its metrics begin with it: ``certified/coarse_fraction_k50_r0_10``.
    The metrics are logged before ``ModelCheckpoint`` and ``EarlyStopping`` read them, so these can monitor them; in
    epochs without certification they read the last values.

    **Selection by these metrics.** If you select the best of E checkpoints by a certified metric, its certificates hold
    only at E times alpha, since a single false certificate can decide the selection
    (:mod:`~lit_certattr.callbacks.selection`). Loggers therefore also get ``certified/alpha_after_selection``,
    ``min(1, E * alpha)`` for the E networks that this callback has certified so far, and checkpoints record the seed
    and the images. Certify the selected checkpoint again, with another seed and other images; ``certify.py run`` warns
    if it would use the noise of the selection again.

    Loggers that accept pictures (Weights & Biases, TensorBoard) get panels of the first images in
    ``certified/panels``. W&B also gets the settings, and at the end of the run ``certified/results``: a table of
    the last certificates, one row per image, certificate and level.

    Args:
        certifier: Certifier with method, noise law and certificates.
        num_images: Number of images; one in a ``fast_dev_run``.
        every_n_epochs: Certify in epochs 0, n, 2n, ... of ``fit``.
        radii: Radii at which shares are logged, in the unit of the budget. Default: 0.05, 0.1 and 0.25; for patches and
            regions 1 to 4.
        targets: The explained class: ``"predicted"`` for the clean image, the image's ``"label"``, or the
            ``"noisy_majority"``: the class that most of ``certifier.class_samples`` noisy copies are predicted as.
        num_panels: Number of images that are drawn, at most 16; with several processes, images of the first process.

    Raises:
        InputError: If an argument is out of range. Before the first training step: if the certifier has too few samples
            to certify a single pixel (the message gives the smallest sufficient number), or if the network or the
            method is not a fixed function of one image (:mod:`lit_certattr.preflight`).

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.certificates import PixelCertificate
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate()], num_samples=200)
        >>> trainer = Trainer(callbacks=[CertificationCallback(certifier, num_images=8)], logger=False)
    """

    def __init__(
        self,
        certifier: Certifier,
        num_images: int = 16,
        every_n_epochs: int = 1,
        radii: Sequence[float] | None = None,
        targets: Targets = "predicted",
        num_panels: int = 4,
    ) -> None:
        instance("certifier", certifier, Certifier, "Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate()])")
        whole_number("num_images", num_images, least=1)
        whole_number("every_n_epochs", every_n_epochs, least=1)
        whole_number("num_panels", num_panels, least=0, most=MAX_PICTURES)
        if targets not in get_args(Targets):
            raise InputError(f"targets must be one of {', '.join(get_args(Targets))}, got {targets!r}")
        certifier.check_images_apart()
        self.certifier = certifier
        self.num_images = num_images
        self.every_n_epochs = every_n_epochs
        radii = certifier.noise.budget.usual_radii(RADII) if radii is None else radii
        self.radii = tuple(real_number("a radius", radius) for radius in several("radii", radii, "[0.1]"))
        self.targets: Targets = targets
        self.num_panels = num_panels
        named_metrics(certifier.certificates, self.radii)  # checks the radii
        self._chosen: list[_Chosen] | None = None
        self._rows: list[dict[str, Any]] = []
        self._looks = 0
        self._warned = self._warned_of_denoiser = False
        self._ids: list[str] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard the images of an earlier run."""
        self._chosen, self._rows = None, []
        self._warned = self._warned_of_denoiser = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse settings that cannot work before training starts, and tell the cost of selection by these metrics.

        Raises:
            InputError: If no pixel could be certified, or network or method is not a fixed function of one image.
        """
        if monitors := certified_monitors(trainer.callbacks):  # type: ignore[attr-defined]
            rank_zero_info(
                f"{', '.join(monitors)}: the best of E checkpoints, selected by a certified metric, is certified "
                "only at E times alpha. Certify the selected checkpoint again, with other images and another seed than "
                f"{self.certifier.seed}."
            )
        if trainer.val_dataloaders is not None:
            with self._apart(trainer, pl_module):
                self._check(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Certify and log, before other callbacks read the metrics."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == TrainerFn.FITTING and trainer.current_epoch % self.every_n_epochs:
            return
        with self._apart(trainer, pl_module):
            self._check(trainer, pl_module)
            self._warn_of_denoiser(trainer, pl_module)
            certified = self._certify(trainer, pl_module)
        self._looks += 1
        self._log_metrics(pl_module, [results for _, results in certified])
        spent = alpha_after_selection((one.alpha for one in self.certifier.certificates.values()), self._looks)
        for logger in _loggers(trainer):
            logger.log_metrics({f"{PREFIX}alpha_after_selection": spent}, step=trainer.global_step)
        self._rows = _gather(
            [
                row | {"epoch": trainer.current_epoch, "alpha_after_selection": spent}
                for sample, results in certified
                for row in rows(_id_of(results), results, _facts(sample, results), self.radii)
            ]
        )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Record by which certified metrics the checkpoint may have been selected."""
        selection = Selection(
            tuple(certified_monitors(trainer.callbacks)),  # type: ignore[attr-defined]
            self._looks,
            total(one.alpha for one in self.certifier.certificates.values()),
            self.certifier.seed,
            tuple(self._ids),
        )
        checkpoint.setdefault(KEY, []).append(selection.to_plain())

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Continue to count the networks that were certified."""
        own = [one for one in trainer.callbacks if isinstance(one, CertificationCallback)]  # type: ignore[attr-defined]
        records = checkpoint.get(KEY, [])
        if (place := own.index(self)) < len(records) and (selection := Selection.from_plain(records[place])):
            self._looks = max(self._looks, selection.looks)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the table of ``trainer.validate()``."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._log_table(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the table of ``trainer.fit()``, once: W&B replaces a table with each log."""
        self._log_table(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the images."""
        self._chosen, self._rows = None, []

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Select the images on the first call, and refuse settings with which nothing can be certified."""
        if self._chosen is not None:
            return
        wanted = 1 if getattr(trainer, "fast_dev_run", False) else self.num_images
        self._chosen = _first_images(trainer.val_dataloaders, wanted)
        self._ids = [sample.id or content_id(sample.image) for sample in self._chosen]
        if self.targets == "label":
            for sample in self._chosen:
                if sample.label == NO_LABEL:
                    raise InputError(f"image {sample.id or sample.position} has no label; use targets: predicted")
        refuse_hooks(trainer, pl_module)
        if self._chosen:  # on every process the same image, so that all of them stop
            image = self._on_device(trainer, pl_module, self._chosen[0].image)
            net, name = network_of(pl_module), f"validation image {self._ids[0]}"
            with frozen(check_network(net)), torch.no_grad():
                target = int(logits_of(without_denoiser(net), image, name).argmax(1))
                certified = self.certifier.network(net, image)
                findings = self.certifier.preflight(certified, image, target, self._ids[0], name)
            self.certifier.check_sample_size(findings.map_shape)
            for sample, image_id in zip(self._chosen, self._ids, strict=True):
                self.certifier.placed(sample.image, image_id)  # refuses an image without a mask before training
        describe_run(_loggers(trainer), self._settings())

    def _warn_of_denoiser(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn once if a denoiser removes no noise; in validation, because training may have changed it."""
        assert self._chosen is not None
        if self._warned_of_denoiser or not self._chosen or not trainer.is_global_zero:
            return
        images = [self._on_device(trainer, pl_module, sample.image)[0] for sample in self._chosen[:FEW_IMAGES]]
        net = network_of(pl_module)
        with frozen(net):
            words = denoiser_warning(net, images, self.certifier.noise, self._ids[:FEW_IMAGES])
        if words is not None:
            log.warning(words)
            self._warned_of_denoiser = True

    def _certify(self, trainer: Trainer, pl_module: LightningModule) -> list[tuple[_Chosen, dict[str, Result]]]:
        """Certify this process's share of the images, and draw the first images."""
        assert self._chosen is not None
        own = self._chosen[trainer.global_rank :: trainer.world_size]
        net = network_of(pl_module)
        certified: list[tuple[_Chosen, dict[str, Result]]] = []
        figures: list[tuple[str, Figure]] = []
        drawn_for = picture_loggers(_loggers(trainer))
        total = len(own) * self.certifier.num_samples  # at most, if images may stop early
        started = time.monotonic()
        with sampling_progress(trainer, total) as on_block:
            for sample in own:
                image = self._on_device(trainer, pl_module, sample.image)
                label = given_targets(self.targets, torch.tensor([sample.label]))
                ids = None if sample.id is None else [sample.id]
                results = self.certifier(net, image, label, ids, on_block)[0]
                certified.append((sample, results))
                if drawn_for and len(figures) < self.num_panels:
                    clean = self._clean_map(net, image, results)
                    title = f"{_id_of(results)}, class {_target_of(results)}, epoch {trainer.current_epoch}"
                    figures.append((_id_of(results), image_panel(sample.image, results, title, clean)))
        seconds = time.monotonic() - started
        drawn = sum(next(iter(results.values())).num_samples for _, results in certified)
        log.info("certified %d images: %.0f samples/s", len(own), drawn / max(seconds, 1e-9))
        log_figures(_loggers(trainer), "certified/panels", figures, trainer.global_step)
        return certified

    def _log_metrics(self, pl_module: LightningModule, certified: Sequence[dict[str, Result]]) -> None:
        any_results = [next(iter(results.values())) for results in certified]
        accuracies = [result.noisy_accuracy for result in any_results]
        if not self._warned and (line := warning(accuracies, self.certifier.noise.remedy)):
            log.warning("validation images of process %d: %s", pl_module.global_rank, line)
            self._warned = True
        accuracy = NoisyAccuracy().to(pl_module.device)
        accuracy.update(any_results)
        self._log(pl_module, {f"{PREFIX}noisy_accuracy": accuracy.compute()})
        for name, metrics in named_metrics(self.certifier.certificates, self.radii).items():
            metrics.to(pl_module.device)  # NCCL adds tensors on the device only
            metrics.update([results[name] for results in certified])
            self._log(pl_module, metrics.compute())

    @staticmethod
    def _log(pl_module: LightningModule, values: Mapping[str, Tensor]) -> None:
        for key, value in values.items():
            # The metrics have added the processes already: all hold the same value, and so does their maximum.
            pl_module.log(key, value, on_step=False, on_epoch=True, sync_dist=True, reduce_fx="max")

    def _log_table(self, trainer: Trainer) -> None:
        if self._rows:
            log_certificates(_loggers(trainer), "certified/results", self._rows, trainer.global_step)

    def _settings(self) -> dict[str, Any]:
        return certification_settings(self.certifier) | {
            "selection": "what is certified of the best of E networks, selected by a certified metric, holds "
            "at E times alpha (alpha_after_selection); certify it again with another seed and other images",
            "num_images": self.num_images,
            "every_n_epochs": self.every_n_epochs,
            "radii": list(self.radii),
            "targets": self.targets,
        }

    def _clean_map(self, net: nn.Module, image: Tensor, results: dict[str, Result]) -> Tensor:
        method = self.certifier.attribution.placed(image[0], _id_of(results))
        with frozen(net):
            targets = torch.tensor([_target_of(results)], device=image.device)
            return method(net, image, targets)[0].detach()

    @staticmethod
    def _on_device(trainer: Trainer, pl_module: LightningModule, image: Tensor) -> Tensor:
        batch: Tensor = trainer.precision_plugin.convert_input(image.unsqueeze(0).to(pl_module.device))
        return batch

    @staticmethod
    @contextmanager
    def _apart(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
        """Isolate from training: random states are restored, no inference tensors, the Trainer's precision."""
        device = pl_module.device
        devices = [device] if device.type == "cuda" else []
        with (
            isolate_rng(include_cuda=False),  # of CUDA, only the device in use: a state of each would occupy them all
            torch.random.fork_rng(devices=devices),
            torch.inference_mode(False),
            trainer.precision_plugin.val_step_context(),
        ):
            yield


def _loggers(trainer: Trainer) -> list[Logger]:
    """The loggers in the first process, none in the others, whose loggers have no run."""
    return trainer.loggers if trainer.is_global_zero else []


def _first_images(loaders: Any, count: int) -> list[_Chosen]:
    """The first images of the data sets of the loaders, in the order of the data sets."""
    chosen: list[_Chosen] = []
    for loader in CombinedLoader(loaders, "sequential").flattened if loaders is not None else []:
        dataset: Any = getattr(loader, "dataset", None)
        if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise InputError(
                f"CertificationCallback needs validation data with an order and a length, got {type(dataset).__name__}"
            )
        for index in range(min(count - len(chosen), len(dataset))):
            sample = dataset[index]
            if not (isinstance(sample, tuple | list) and len(sample) >= 2):
                raise InputError(f"CertificationCallback needs (image, label) samples, got {type(sample).__name__}")
            image, label, *rest = sample
            if not (isinstance(image, Tensor) and image.ndim == 3 and image.is_floating_point()):
                raise InputError(
                    f"validation image {index} must be a float tensor [C, H, W], got "
                    + (f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__)
                )
            name = rest[0] if rest and isinstance(rest[0], str) else None
            chosen.append(_Chosen(len(chosen), image, int(label), name))
    return chosen


def _target_of(results: dict[str, Result]) -> int:
    return int(next(iter(results.values())).sampling["target"])


def _id_of(results: dict[str, Result]) -> str:
    return str(next(iter(results.values())).sampling["image_id"])


def _facts(sample: _Chosen, results: dict[str, Result]) -> dict[str, Any]:
    predicted = next(iter(results.values())).sampling["target_rule"] == "predicted"
    return {
        "label": None if sample.label == NO_LABEL else sample.label,
        "prediction": _target_of(results) if predicted else None,
    }


def _gather(own: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return own
    parts: list[list[dict[str, Any]] | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, own)
    return [row for part in parts for row in part or []]
