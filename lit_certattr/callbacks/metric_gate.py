"""A metric for the selection of checkpoints: the certified share, provided that the network is accurate."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_certattr.errors import InputError


class MetricGate(Callback):
    """Logs a metric if another metric is large enough, and zero otherwise.

    A network that has learnt little can have maps as stable as the maps of an accurate network. A ``ModelCheckpoint``
    or ``EarlyStopping`` that monitors only the certified share may select such a network. If it monitors this metric,
    it selects the network with the largest certified share among the accurate ones.

    This is a selection by certified metrics: the certificates of the best of E checkpoints hold only at E times alpha,
    so certify the selected checkpoint again (:class:`CertificationCallback`).

    Place this callback after the :class:`CertificationCallback` and before the callbacks that monitor the metric. If no
    epoch passes the gate, the best checkpoint did not pass it either: a warning at the end of the training says so.
    :class:`LastCheckpoint`, which ``train.py`` always adds, saves the last epoch in any case.

    Args:
        metric: Name of the metric to log, e.g. ``certified/one_share_k25_r0_10``.
        at_least: Smallest value of ``gate`` at which ``metric`` is logged; below it, zero is logged.
        gate: Name of the metric that must be large enough.
        name: Name under which the value is logged.

    Raises:
        InputError: In the first validation, if no metric has one of these names.

    Example:
        >>> callback = MetricGate("certified/one_share_k25_r0_10", at_least=0.95)
    """

    def __init__(
        self, metric: str, at_least: float, gate: str = "val/accuracy", name: str = "certified/selected"
    ) -> None:
        self.metric = metric
        self.at_least = at_least
        self.gate = gate
        self.name = name
        self._passed = False
        self._largest: tuple[float, int] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Reset the state of an earlier run."""
        self._passed, self._largest = False, None

    def state_dict(self) -> dict[str, Any]:
        """State about the previous epochs, for a resumed run."""
        return {"passed": self._passed, "largest": self._largest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of :meth:`state_dict`."""
        self._passed, self._largest = state_dict["passed"], state_dict["largest"]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metric, before other callbacks read it.

        Raises:
            InputError: If one of the metrics was not logged.
        """
        if trainer.sanity_checking:
            return
        value, gate = self._look_up(trainer, self.metric), self._look_up(trainer, self.gate)
        reached = float(gate.nan_to_num(nan=-torch.inf))
        if self._largest is None or reached > self._largest[0]:
            self._largest = reached, trainer.current_epoch
        self._passed = self._passed or bool(gate >= self.at_least)
        passed = torch.where(gate >= self.at_least, value, torch.zeros_like(value))
        # All processes hold the same value already, and so does their maximum.
        pl_module.log(self.name, passed, on_step=False, on_epoch=True, sync_dist=True, reduce_fx="max")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if no epoch passed the gate."""
        if self._largest is not None and not self._passed:
            value, epoch = self._largest
            rank_zero_warn(
                f"no epoch has passed the gate {self.gate} >= {self.at_least:g}: the largest was {value:.4g}, in epoch "
                f"{epoch}. The best checkpoint by {self.name} did not pass it; last.ckpt contains the last epoch. "
                "Train longer, or choose a smaller at_least"
            )

    @staticmethod
    def _look_up(trainer: Trainer, name: str) -> Tensor:
        if name not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise InputError(f"MetricGate looks for the metric {name!r}, which nothing has logged; there are: {known}")
        return trainer.callback_metrics[name]
