"""A metric to select checkpoints by: what is certified, as long as the network is accurate."""

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lit_certattr.errors import InputError


class MetricGate(Callback):
    """Logs a metric where another one is large enough, and zero where it is not.

    A network that has learnt little can have maps as stable as those of an accurate one. A ``ModelCheckpoint`` or
    ``EarlyStopping`` that monitors the certified share alone may keep it. One that monitors this metric keeps the
    network of largest certified share among the accurate ones.

    To choose by it is to choose by what is certified: the best of E checkpoints holds at E times alpha only, and should
    be certified anew (:class:`CertificationCallback`).

    Place it after the :class:`CertificationCallback` and before the callbacks that monitor it.

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

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metric, before the callbacks that monitor it look."""
        if trainer.sanity_checking:
            return
        value, gate = self._look_up(trainer, self.metric), self._look_up(trainer, self.gate)
        passed = torch.where(gate >= self.at_least, value, torch.zeros_like(value))
        # All processes hold the same value already, and so does their maximum.
        pl_module.log(self.name, passed, on_step=False, on_epoch=True, sync_dist=True, reduce_fx="max")

    @staticmethod
    def _look_up(trainer: Trainer, name: str) -> Tensor:
        if name not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise InputError(f"MetricGate looks for the metric {name!r}, which nothing has logged; there are: {known}")
        return trainer.callback_metrics[name]
