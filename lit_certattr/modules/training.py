"""The base class of LightningModules that train a network."""

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lit_certattr.data import ImageDataModule
from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint_file import harmless_objects, read_checkpoint
from lit_certattr.modules.training_checks import (
    check_checkpoint,
    check_optimizers,
    check_some_training,
    check_weights,
    optimizer_overflow,
)
from lit_certattr.modules.training_state import (
    pending_plateau,
    random_states,
    restore_random_states,
    step_pending_plateau,
)

_STATE = "lit_certattr"
"""Key of a checkpoint under which this class stores its own state."""


class TrainingModule(LightningModule, ABC):
    """Base of modules that train a network: optimizer, checks, and checkpoints from which a run resumes exactly.

    A run that is resumed from the checkpoint of a whole epoch (:class:`~lit_certattr.callbacks.LastCheckpoint`) repeats
    the losses of an uninterrupted run, on the CPU bit for bit: checkpoints hold the states of all random generators,
    and what a subclass adds with :meth:`own_state`.

    A checkpoint holds tensors and plain values only, so it loads with ``weights_only=True``. A checkpoint written by
    ``train.py`` also holds the configuration of the arguments, and ``load_from_checkpoint(path)`` rebuilds them. For a
    module that was built in Python, pass the arguments again.

    Args:
        optimizer: Creates the optimizer from the parameters.
        scheduler: Creates the learning-rate scheduler from the optimizer; it steps once per epoch. A scheduler with an
            attribute ``monitor`` (``lightning.pytorch.cli.ReduceLROnPlateau``) monitors the metric of that name.
    """

    def __init__(self, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None) -> None:
        super().__init__()
        if _given_hyperparameters.get() is not None:
            self.save_hyperparameters()  # what the command line was given: plain dicts of class_path and init_args
        # Built from Python the arguments are objects, which would be pickled: nothing is saved but the weights.
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._resumed: dict[str, Any] | None = None

    @property
    @abstractmethod
    def trained(self) -> nn.Module:
        """The network that is trained."""

    @abstractmethod
    def check(self, data: ImageDataModule) -> None:
        """Check that data fit, by passing a few images through the networks.

        Args:
            data: Data whose ``setup`` has run.

        Raises:
            InputError: If they do not fit.
        """

    def own_state(self) -> dict[str, Any]:
        """Further plain values and tensors that a resumed run needs, for the checkpoint."""
        return {}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`own_state` returned.

        Args:
            state: The values of the checkpoint, under all keys of :meth:`own_state`.

        Raises:
            InputError: If they cannot be read.
        """

    def on_fit_start(self) -> None:
        """Restore the states of the random generators, and the module's own, from the checkpoint.

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
        self.load_own_state(self._resumed)

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
            **self.own_state(),
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
        wanted = {"random", "plateau", *self.own_state()}
        if self._resumed is not None and not (isinstance(self._resumed, dict) and wanted <= self._resumed.keys()):
            raise InputError(f"the checkpoint's {_STATE!r} cannot be read; it may be damaged")

    def on_train_epoch_end(self) -> None:
        """Stop the training before weights that are not finite overwrite a checkpoint."""
        check_weights(self.trained, self.trainer)

    def on_fit_end(self) -> None:
        """Refuse a training that had no batch."""
        check_some_training(self.trainer)

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
