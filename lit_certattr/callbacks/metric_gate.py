"""A metric to select checkpoints by: what is certified, as long as the network is accurate."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_certattr.errors import InputError


class MetricGate(Callback):
    """Logs a metric where another one is large enough, and zero where it is not.

    A network that has learnt little can have maps as stable as those of an accurate one. A ``ModelCheckpoint`` or
    ``EarlyStopping`` that monitors the certified share alone may keep it. One that monitors this metric keeps the
    network of largest certified share among the accurate ones.

    To choose by it is to choose by what is certified: the best of E checkpoints holds at E times alpha only, and should
    be certified anew (:class:`CertificationCallback`).

    Place it after the :class:`CertificationCallback` and before the callbacks that monitor it. Where no epoch has
    passed, the best checkpoint is one of those that did not: a warning at the end of the training says so.
    :class:`LastCheckpoint`, which ``train.py`` always adds, saves the last epoch in any case.

    Args:
        metric: Name of the metric that is passed on, e.g. ``certified/one_share_k25_r0_10``.
        at_least: Smallest value of ``gate`` at which it is.
        gate: Name of the metric that decides.
        name: Name of the metric that is logged.

    Raises:
        InputError: In the first validation, if there is no metric of one of these names.

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
        """Forget an earlier run."""
        self._passed, self._largest = False, None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know of the epochs before."""
        return {"passed": self._passed, "largest": self._largest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See :meth:`state_dict`."""
        self._passed, self._largest = state_dict["passed"], state_dict["largest"]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metric, before the callbacks that monitor it look."""
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
        """Warn if nothing was selected."""
        if self._largest is not None and not self._passed:
            value, epoch = self._largest
            rank_zero_warn(
                f"no epoch has passed the gate {self.gate} >= {self.at_least:g}: the largest was {value:.4g}, in epoch "
                f"{epoch}. The best checkpoint by {self.name} did not pass; last.ckpt holds the last epoch. "
                "Train longer, or lower at_least"
            )

    @staticmethod
    def _look_up(trainer: Trainer, name: str) -> Tensor:
        if name not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise InputError(f"MetricGate looks for the metric {name!r}, which nothing has logged; there are: {known}")
        return trainer.callback_metrics[name]
