"""How alike the maps of different images are, in every validation: the guard against maps that say nothing."""

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lit_certattr.attribution import Attribution, frozen
from lit_certattr.attribution.any_method import as_method
from lit_certattr.callbacks.network import network_of
from lit_certattr.data import Sample
from lit_certattr.metrics import SameClassOverlap
from lit_certattr.objectives.maps import in_batches
from lit_certattr.settings import whole_number
from lit_certattr.smoothing import top_k_size


class OverlapCallback(Callback):
    """Logs the overlap of the maps of different validation images, with and without a common prediction.

    Training for stable maps, or for a claim about maps, can end with one map for all images of a class: every
    certificate of such a map is large, and it does not depend on the image. This callback logs in each validation

    ==================================  =====================================================================
    ``val/same_class_overlap``          mean top-K overlap of maps of *different* images, same prediction
    ``val/different_class_overlap``     the same of images with different predictions
    ``val/constant_maps``               share of the maps that are constant; they take part in no pair
    ==================================  =====================================================================

    beside K as a share of the pixels, the overlap of unrelated maps (``val/chance_overlap``), so that a
    :class:`MetricGate` can keep such networks out (``gate: val/same_class_overlap``, ``at_most: 0.9``). Which value is
    too high depends on the data: images of a class are alike in aligned data; see what a network trained on the same
    data without the penalty has. A network whose predictions are all different has no pair, and logs NaN.

    Place this callback before the gate. It explains predicted classes. Modes, flags and gradients stay unchanged; a
    method that draws random numbers uses torch's generator.

    Args:
        attribution: The map that is certified.
        top_k: K, a share of the pixels in (0, 1) or a number of pixels.
        num_images: Number of validation images per process, the first ones.
        every_n_epochs: Look in epochs 0, n, 2n, ... of ``fit``; a gate reads the last values in between.

    Raises:
        InputError: If a number is out of range, or the maps are of regions that differ from image to image.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> callback = OverlapCallback(Gradient(), top_k=0.25)
    """

    def __init__(
        self, attribution: Attribution, top_k: float = 0.25, num_images: int = 200, every_n_epochs: int = 1
    ) -> None:
        top_k_size(top_k, 10**9)  # complains of what can be no share and no number
        self.attribution = in_batches(as_method(attribution))
        self.top_k = top_k
        self.num_images = whole_number("num_images", num_images, least=2)
        self.every_n_epochs = whole_number("every_n_epochs", every_n_epochs, least=1)
        self._metric: SameClassOverlap | None = None
        self._seen = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the images of the last validation."""
        self._metric, self._seen = None, 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Explain the images of a batch, up to the number that is wanted."""
        count = min(self.num_images - self._seen, len(batch.image))
        if trainer.sanity_checking or count < 1 or self._skips(trainer):
            return
        maps, predictions, classes = self._explain(trainer, pl_module, batch.image[:count])
        if self._metric is None:
            shape = (maps.shape[1], maps.shape[2])
            self._metric = SameClassOverlap(classes, shape, self.top_k).to(pl_module.device)
        self._metric.update(maps, predictions)
        self._seen += count

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log, before other callbacks read the metrics."""
        if self._metric is None:
            return
        for name, value in self._metric.compute().items():
            # The metric has added the processes already: all hold the same value, and so does their maximum.
            pl_module.log(f"val/{name}", value, on_step=False, on_epoch=True, sync_dist=True, reduce_fx="max")

    def _skips(self, trainer: Trainer) -> bool:
        return trainer.state.fn == TrainerFn.FITTING and trainer.current_epoch % self.every_n_epochs > 0

    def _explain(self, trainer: Trainer, pl_module: LightningModule, images: Tensor) -> tuple[Tensor, Tensor, int]:
        """Maps of the predicted classes, these classes, and the number of all classes."""
        net = network_of(pl_module)
        with torch.inference_mode(False), torch.no_grad(), frozen(net), trainer.precision_plugin.val_step_context():
            own = images.clone()  # usable outside of inference_mode
            logits = net(own.clone())
            predictions = logits.argmax(1)
            return self.attribution(net, own, predictions), predictions, logits.shape[1]
