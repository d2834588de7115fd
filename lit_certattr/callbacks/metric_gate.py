"""A metric for the selection of checkpoints: the certified share, provided that another metric is good enough."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_certattr.errors import InputError

_SELECTED = "certified/selected"


class MetricGate(Callback):
    """Logs a metric if another metric is large enough (or small enough), and zero otherwise.

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
        gate: Name of the metric that must be large or small enough.
        name: Name under which the value is logged; a second gate may take it as its ``metric``.
        at_most: Largest value of ``gate`` at which ``metric`` is logged, in place of ``at_least``: for a gate such as
            ``val/same_class_overlap`` (:class:`OverlapCallback`).

    Raises:
        InputError: If not exactly one of ``at_least`` and ``at_most`` is given; in the first validation, if no metric
            has one of these names.

    Example:
        >>> callback = MetricGate("certified/one_share_k25_r0_10", at_least=0.95)
    """

    def __init__(
        self,
        metric: str,
        at_least: float | None = None,
        gate: str = "val/accuracy",
        name: str = _SELECTED,
        at_most: float | None = None,
    ) -> None:
        if (at_least is None) == (at_most is None):
            raise InputError(f"give MetricGate at_least or at_most, and not both, got {at_least} and {at_most}")
        self.metric = metric
        self.at_least, self.at_most = at_least, at_most
        self.gate = gate
        self.name = name
        self._passed = False
        self._largest: tuple[float, int] | None = None

    @property
    def state_key(self) -> str:
        """Where checkpoints hold the state of this gate, beside those of other gates."""
        # Checkpoints of earlier versions hold that of one gate, under the name of the class.
        return super().state_key if self.name == _SELECTED else self._generate_state_key(name=self.name)

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
        sign, bound = self._sign_and_bound()
        reached = float((sign * gate).nan_to_num(nan=-torch.inf))
        if self._largest is None or reached > self._largest[0]:
            self._largest = reached, trainer.current_epoch
        self._passed = self._passed or bool(sign * gate >= sign * bound)
        passed = torch.where(sign * gate >= sign * bound, value, torch.zeros_like(value))
        # All processes hold the same value already, and so does their maximum.
        pl_module.log(self.name, passed, on_step=False, on_epoch=True, sync_dist=True, reduce_fx="max")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if no epoch passed the gate."""
        if self._largest is not None and not self._passed:
            (reached, epoch), (sign, bound) = self._largest, self._sign_and_bound()
            relation, best, remedy = (
                (">=", "largest", "Train longer, or choose a smaller at_least")
                if sign > 0
                else ("<=", "smallest", "Change the training, or choose a larger at_most")
            )
            rank_zero_warn(
                f"no epoch has passed the gate {self.gate} {relation} {bound:g}: the {best} was {sign * reached:.4g}, "
                f"in epoch {epoch}. The best checkpoint by {self.name} did not pass it; last.ckpt contains the last "
                f"epoch. {remedy}"
            )

    def _sign_and_bound(self) -> tuple[int, float]:
        """1 and the smallest value that passes, or -1 and the largest one."""
        if self.at_least is not None:
            return 1, self.at_least
        assert self.at_most is not None
        return -1, self.at_most

    @staticmethod
    def _look_up(trainer: Trainer, name: str) -> Tensor:
        if name not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise InputError(f"MetricGate looks for the metric {name!r}, which nothing has logged; there are: {known}")
        return trainer.callback_metrics[name]
