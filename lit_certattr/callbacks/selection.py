r"""The error probability of certificates if certified metrics select the best of several networks.

Theorem. Each of E networks is certified at :math:`\alpha` for an image. Whichever network any rule selects, its
certificate is false with probability at most :math:`E \alpha`, and for some networks and rules with probability
:math:`1 - (1 - \alpha)^E`. A certificate of the selected network from noise that is independent of the selection holds
at :math:`\alpha`.

Proof. The certificate of the selected network is false only if at least one of the E certificates is: the union bound.
If each of the E certificates is false with probability :math:`\alpha`, independently, and the rule selects the largest
certificate, one false certificate is enough. Conditional on the selection, noise that is independent of it has the same
law as for a network that was fixed in advance. ∎
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

from lightning import Callback

from lit_certattr.callbacks.metric_gate import MetricGate
from lit_certattr.metrics.naming import PREFIX
from lit_certattr.models.checkpoint_file import read_checkpoint
from lit_certattr.statistics.rounding import total

KEY = "certified_selection"
"""Key of the records in a checkpoint."""


class Selection(NamedTuple):
    """How certified metrics may have selected a checkpoint.

    Attributes:
        monitors: Metrics that depend on certificates and that callbacks monitored.
        looks: Number of networks certified until the checkpoint was written, including the saved one.
        alpha: Sum of the alphas of the certificates of one image.
        seed: Seed of their noise.
        ids: Ids of the images.
    """

    monitors: tuple[str, ...]
    looks: int
    alpha: float
    seed: int
    ids: tuple[str, ...]

    @classmethod
    def from_plain(cls, record: Any) -> Self | None:
        """The selection that a checkpoint records; ``None`` for anything else, since checkpoints are untrusted.

        Args:
            record: Result of :meth:`to_plain` in a checkpoint.
        """
        match record:
            case {
                "monitors": list(monitors),
                "looks": int(looks),
                "alpha": float(alpha),
                "seed": int(seed),
                "ids": list(ids),
            }:
                return cls(tuple(map(str, monitors)), looks, alpha, seed, tuple(map(str, ids)))
        return None

    def to_plain(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return self._asdict() | {"monitors": list(self.monitors), "ids": list(self.ids)}


def alpha_after_selection(alphas: Iterable[float], looks: int) -> float:
    """Upper bound for the error probability of the certificates of the best of several networks.

    Args:
        alphas: Error probabilities of the certificates of one image.
        looks: Number of networks that were certified with the same noise and images.

    Example:
        >>> alpha_after_selection([0.001], looks=50), alpha_after_selection([0.05, 0.05], looks=50)
        (0.05, 1.0)
    """
    return min(1.0, total(alphas, looks))


def certified_monitors(callbacks: Iterable[Callback]) -> list[str]:
    """Metrics that depend on certificates and that callbacks monitor to select a checkpoint or to stop.

    Args:
        callbacks: The Trainer's callbacks.
    """
    callbacks = list(callbacks)
    gates = {one.name for one in callbacks if isinstance(one, MetricGate) and one.metric.startswith(PREFIX)}
    monitored = {str(getattr(one, "monitor", None)) for one in callbacks}
    return [name for name in sorted(monitored) if name.startswith(PREFIX) or name in gates]


def recorded_selections(checkpoint: str | Path) -> list[Selection]:
    """The certified metrics by which a checkpoint may have been selected; empty if the file records none.

    Args:
        checkpoint: Checkpoint of ``train.py fit``; no code in it is executed.

    Raises:
        InputError: If the file cannot be read.
    """
    records = read_checkpoint(Path(checkpoint)).get(KEY)
    found = [Selection.from_plain(record) for record in records] if isinstance(records, list) else []
    return [selection for selection in found if selection is not None and selection.monitors]
