"""What the plain maps are worth, in every validation."""

from collections.abc import Sequence

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lit_certattr.attribution import Attribution, frozen
from lit_certattr.attribution.any_method import as_method
from lit_certattr.callbacks.network import network_of
from lit_certattr.data import Sample
from lit_certattr.errors import InputError
from lit_certattr.metrics import MapQuality, RandomLogitQuality, SparsenessQuality
from lit_certattr.metrics.functional.baselines import image_ids
from lit_certattr.metrics.quality import Explained, QualityMeans
from lit_certattr.metrics.quality.base import check_qualities
from lit_certattr.objectives.maps import in_batches
from lit_certattr.settings import whole_number


class MapQualityCallback(Callback):
    """Logs what the maps of the first validation images are worth, each number beside chance.

    A certificate says that a map is stable, and training can make it so by maps that are spread evenly, or the same
    for all classes. In each validation this callback logs means over images, by default

    ===================================  =====================================================================
    ``val/sparseness``                   Gini index of the absolute values of the maps
    ``val/sparseness_centre``            the same of a map of the image centre
    ``val/sparseness_chance``            the same of independent normal values
    ``val/random_logit``                 similarity of the maps of two classes of an image; small is good
    ``val/random_logit_chance``          the same with the pixels of one map in random order
    ===================================  =====================================================================

    and with ``RankAccuracyQuality(mask)`` also ``val/relevance_rank_accuracy``, the share of the largest pixels that
    lie on the object, beside ``_centre`` and ``_chance``. Checkpoints and a :class:`MetricGate` can read all of them:
    place this callback before the gate. It explains predicted classes. Modes, flags and gradients stay unchanged; a
    method that draws random numbers uses torch's generator.

    Args:
        attribution: The map.
        qualities: What is measured; ``None`` for sparseness and random logit.
        num_images: Number of validation images per process, the first ones.
        every_n_epochs: Look in epochs 0, n, 2n, ... of ``fit``; a gate reads the last values in between.

    Raises:
        InputError: If a setting is out of range, there is no quality, or the maps are of regions that differ from image
            to image. In the sanity check before training, if an image has no such number, as one without a mask.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> callback = MapQualityCallback(Gradient(), num_images=100)
    """

    def __init__(
        self,
        attribution: Attribution,
        qualities: Sequence[MapQuality] | None = None,
        num_images: int = 64,
        every_n_epochs: int = 1,
    ) -> None:
        self.attribution = in_batches(as_method(attribution))
        self.qualities = check_qualities(
            [SparsenessQuality(), RandomLogitQuality()] if qualities is None else qualities
        )
        if not self.qualities:
            raise InputError("qualities must be at least one, e.g. [SparsenessQuality()]")
        self.num_images = whole_number("num_images", num_images, least=1)
        self.every_n_epochs = whole_number("every_n_epochs", every_n_epochs, least=1)
        self._metrics: list[QualityMeans] = []
        self._seen = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the images of the last validation."""
        self._metrics, self._seen = [], 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure the maps of the images of a batch, up to the number that is wanted."""
        count = min(self.num_images - self._seen, len(batch.image))
        if count < 1 or self._skips(trainer):
            return
        names = image_ids(batch.image[:count], list(batch.id)[:count])
        found = self._measure(trainer, pl_module, batch.image[:count], names)
        if not self._metrics:
            self._metrics = [QualityMeans(one).to(pl_module.device) for one in self.qualities]
        for metric, values in zip(self._metrics, found, strict=True):
            metric.update(values)
        self._seen += count

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log, before other callbacks read the metrics; a sanity check only shows that all images can be measured."""
        if trainer.sanity_checking:
            return
        for metric in self._metrics:
            for name, value in metric.compute().items():
                # The metric has added the processes already: all hold the same value, and so does their maximum.
                pl_module.log(f"val/{name}", value, on_step=False, on_epoch=True, sync_dist=True, reduce_fx="max")

    def _skips(self, trainer: Trainer) -> bool:
        return trainer.state.fn == TrainerFn.FITTING and trainer.current_epoch % self.every_n_epochs > 0

    def _measure(
        self, trainer: Trainer, pl_module: LightningModule, images: Tensor, names: Sequence[str]
    ) -> list[Tensor]:
        """The numbers of each quality, ``[B, columns]``, of the maps of the predicted classes."""
        net = network_of(pl_module)
        with torch.inference_mode(False), torch.no_grad(), frozen(net), trainer.precision_plugin.val_step_context():
            own = images.clone()  # usable outside of inference_mode
            targets = net(own.clone()).argmax(1)
            maps = self.attribution(net, own, targets)
            explained = Explained(net, self.attribution, own, targets, maps, names)
            return [torch.stack(one.values(explained), dim=1) for one in self.qualities]
