"""The LightningModule that trains a classifier."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy
from typing_extensions import override

from lit_certattr.data import ImageDataModule, Sample
from lit_certattr.errors import InputError
from lit_certattr.modules.training import TrainingModule
from lit_certattr.modules.training_checks import (
    check_batch,
    check_data,
    check_logits_fit,
    check_loss,
    check_objective,
    check_targets_fit,
    check_weights,
    ids_of,
    is_not_finite,
)
from lit_certattr.objectives import Objective
from lit_certattr.preflight import check_logits


class RobustClassifier(TrainingModule):
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
        super().__init__(optimizer, scheduler)
        self.net = net
        self.objective = objective
        self._num_logits: int | None = None  # known once the network has been tried on a training batch
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

    @property
    @override
    def trained(self) -> nn.Module:
        return self.net

    @override
    def check(self, data: ImageDataModule) -> None:
        check_data(self.net, data)
        check_logits_fit(self.net, data)

    @override
    def own_state(self) -> dict[str, Any]:
        return {"objective": type(self.objective).__name__, "objective_state": self.objective.state_dict()}

    @override
    def load_own_state(self, state: Mapping[str, Any]) -> None:
        if state["objective"] == type(self.objective).__name__:
            try:
                self.objective.load_state_dict(state["objective_state"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError("the checkpoint's state of the objective cannot be read; it may be damaged") from error

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
        self.objective.ids = ids_of(batch, self.trainer)
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
