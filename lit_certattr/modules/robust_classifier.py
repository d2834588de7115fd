"""The LightningModule that trains a classifier."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from lit_certattr.data import ImageDataModule, Sample
from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint_file import harmless_objects, read_checkpoint
from lit_certattr.modules.training_checks import (
    check_batch,
    check_checkpoint,
    check_data,
    check_loss,
    check_objective,
    check_optimizers,
    check_some_training,
    check_targets_fit,
    check_weights,
    is_not_finite,
    optimizer_overflow,
)
from lit_certattr.modules.training_state import (
    pending_plateau,
    random_states,
    restore_random_states,
    step_pending_plateau,
)
from lit_certattr.objectives import Objective
from lit_certattr.preflight import check_logits

_STATE = "lit_certattr"
"""Key of a checkpoint under which this class stores its own state."""


class RobustClassifier(LightningModule):
    """Trains an image classifier on any objective.

    Logs ``train/loss`` and what the objective logs (``train/accuracy``, ...); ``val/loss``, ``val/accuracy``,
    ``test/loss`` and ``test/accuracy`` are cross-entropy and accuracy on the clean images for every objective,
    so that runs can be compared.

    The first loss that is NaN or infinite stops the training with an :class:`~lit_certattr.errors.InputError`.

    A run that is resumed from the checkpoint of a whole epoch (:class:`~lit_certattr.callbacks.LastCheckpoint`) repeats
    the losses of an uninterrupted run, on the CPU bit for bit: checkpoints hold the states of all random generators and
    of the objective.

    A checkpoint holds tensors and plain values only, so it loads with ``weights_only=True``. A checkpoint written by
    ``train.py`` also holds the configuration of the arguments below, and ``load_from_checkpoint(path)`` rebuilds them.
    For a module that was built in Python, pass them again: ``load_from_checkpoint(path, net=..., objective=...)``.

    Args:
        net: Network from images in [0, 1] to logits; normalisation is its first layer.
        objective: The training loss.
        optimizer: Creates the optimizer from the parameters.
        scheduler: Creates the learning-rate scheduler from the optimizer; it steps once per epoch. A scheduler with an
            attribute ``monitor`` (``lightning.pytorch.cli.ReduceLROnPlateau``) monitors the metric of that name.

    Example:
        >>> from lit_certattr.objectives import CrossEntropy
        >>> module = RobustClassifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), CrossEntropy())
        >>> module(torch.rand(2, 1, 2, 2)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        if _given_hyperparameters.get() is not None:
            self.save_hyperparameters()  # what the command line was given: plain dicts of class_path and init_args
        # Built from Python the arguments are objects, which would be pickled: nothing is saved but the weights.
        self.net = net
        self.objective = objective
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._num_logits: int | None = None  # known once the network has been tried on a training batch
        self._resumed: dict[str, Any] | None = None
        self.val_accuracy = MulticlassAccuracy(average="micro", validate_args=False)
        self.test_accuracy = MulticlassAccuracy(average="micro", validate_args=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]`` in [0, 1]."""
        logits: Tensor = self.net(images)
        return logits

    def setup(self, stage: str) -> None:
        """Check that the data and the objective fit the network, before anything runs.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            InputError: If they do not fit (:func:`~lit_certattr.modules.training_checks.check_data`,
                :func:`~lit_certattr.modules.training_checks.check_objective`).
        """
        if stage == "fit":
            check_objective(self.net, self.objective, str(self.trainer.precision))
            self._num_logits = None
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageDataModule) and stage != "predict":
            check_data(self.net, data)

    def on_fit_start(self) -> None:
        """Restore the states of the random generators and of the objective from the checkpoint.

        Raises:
            InputError: If the states in the checkpoint cannot be read.
        """
        if self._resumed is None:
            return
        exact = restore_random_states(
            self._resumed["random"], self.device, self.trainer.global_rank, self.trainer.world_size
        )
        if not exact:
            rank_zero_warn(
                "resumed on other devices than before: the random numbers differ from those of an uninterrupted run"
            )
        if self._resumed["objective"] == type(self.objective).__name__:
            try:
                self.objective.load_state_dict(self._resumed["objective_state"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError("the checkpoint's state of the objective cannot be read; it may be damaged") from error

    def on_train_start(self) -> None:
        """Take the scheduler step that Lightning takes only after it has saved the checkpoint of an epoch."""
        if self._resumed is not None:
            check_optimizers(self.trainer)
            step_pending_plateau(self.trainer, self._resumed["plateau"])
            self._resumed = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step of the optimizer, as in :class:`lightning.LightningModule`, and name the remedy if it overflows.

        Raises:
            InputError: If the step is too large for the dtype of the weights.
        """
        try:
            super().optimizer_step(*args, **kwargs)
        except (RuntimeError, OverflowError) as error:
            if "overflow" not in str(error):
                raise
            raise optimizer_overflow(error, self.trainer) from error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the states that a resumed run needs to repeat an uninterrupted one."""
        checkpoint[_STATE] = {
            "random": random_states(self.device),
            "plateau": pending_plateau(self.trainer),
            "objective": type(self.objective).__name__,
            "objective_state": self.objective.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint that a Trainer loads, and keep its states until training starts.

        Checkpoints of older versions hold no such states.

        Args:
            checkpoint: Content of the file.

        Raises:
            InputError: If the checkpoint does not fit the module, or is damaged.
        """
        if self._trainer is not None and self.strict_loading:
            check_checkpoint(self, checkpoint, fits=self._trainer.state.fn == TrainerFn.FITTING)
        self._resumed = checkpoint.get(_STATE)
        wanted = {"random", "plateau", "objective", "objective_state"}
        if self._resumed is not None and not (isinstance(self._resumed, dict) and wanted <= self._resumed.keys()):
            raise InputError(f"the checkpoint's {_STATE!r} cannot be read; it may be damaged")

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """The loss of the objective.

        Raises:
            InputError: If the network or a label does not fit, or the loss is NaN or infinite.
        """
        targets = torch.as_tensor(batch.target)
        if self._num_logits is None:
            self._num_logits = check_batch(self.net, batch.image, targets)
        check_targets_fit(self.net, targets, self._num_logits)
        self.objective.epoch = self.current_epoch + batch_idx / self.trainer.num_training_batches
        loss, logs = self.objective(self.net, batch.image, targets)
        check_loss(loss, self.net, self.trainer, batch_idx)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.image))
        self.log_dict(
            {f"train/{name}": value for name, value in logs.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(batch.image),
        )
        return loss

    def on_train_epoch_end(self) -> None:
        """Stop the training before weights that are not finite overwrite a checkpoint."""
        check_weights(self.net, self.trainer)

    def on_fit_end(self) -> None:
        """Refuse a training that had no batch."""
        check_some_training(self.trainer)

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Accuracy and cross-entropy on the clean images."""
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: Sample, batch_idx: int) -> None:
        """Accuracy and cross-entropy on the clean images."""
        self._evaluate(batch, "test", self.test_accuracy)

    def predict_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Logits ``[B, num_classes]``."""
        return self(batch.image)  # type: ignore[no-any-return]

    def _evaluate(self, batch: Sample, stage: str, metric: MulticlassAccuracy) -> None:
        targets = torch.as_tensor(batch.target)
        logits = self(batch.image)
        if self.trainer.state.fn != TrainerFn.FITTING or not is_not_finite(logits):
            check_logits(logits, self.net, len(batch.image), f"the {stage} images")
        else:  # batch statistics of few batches may cause this in half precision; finite weights can be trained on
            check_weights(self.net, self.trainer)
            if not getattr(self.trainer, "fast_dev_run", False):
                rank_zero_warn(f"NaN or infinite logits for {stage} images in epoch {self.current_epoch}")
        check_targets_fit(self.net, targets, logits.shape[1])
        metric.update(logits, targets)
        loss = functional.cross_entropy(logits, targets)
        size = len(batch.image)
        self.log(f"{stage}/accuracy", metric, prog_bar=True, batch_size=size)
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=size, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimizer, and the scheduler if there is one.

        Raises:
            InputError: If the optimizer or the scheduler refuses its settings.
        """
        try:
            optimizer = self.optimizer(self.parameters())
            if self.scheduler is None:
                return optimizer
            scheduler = self.scheduler(optimizer)
        except ValueError as error:
            raise InputError(f"optimizer or scheduler: {error}") from error
        monitor = getattr(scheduler, "monitor", "val/loss")
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, *args: Any, **kwargs: Any
    ) -> Self:
        """Rebuild a module from a checkpoint, as in :class:`lightning.LightningModule`.

        A checkpoint is untrusted: ``weights_only`` is true by default, and the checkpoint may name only classes of
        modules that are imported already. To load the network alone, use :func:`lit_certattr.models.load_network`,
        which is stricter.

        Raises:
            InputError: If the file is missing, damaged, or names something that is not imported.
        """
        kwargs.setdefault("weights_only", True)
        if kwargs["weights_only"]:
            content = read_checkpoint(Path(checkpoint_path))  # refuses what is missing, damaged or pickled, in one line
            _refuse_imports(content.get("hyper_parameters"), Path(checkpoint_path))
        with harmless_objects():
            module: Self = super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        return module


def _refuse_imports(value: Any, path: Path) -> None:
    """Refuse hyper-parameters in which a string is a dotted name of a module that is not imported already.

    Wherever a class or a callable may stand, the parser that rebuilds a module imports what a string names.
    """
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_imports(item, path)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_imports(item, path)
    elif isinstance(value, str) and re.fullmatch(r"\w+(\.\w+)+", value) and value.rpartition(".")[0] not in sys.modules:
        raise InputError(
            f"checkpoint {path} names {value}, of a module that is not imported; import it if you trust it"
        )
