r"""What it costs to choose the best of several networks by what is certified of them.

Theorem. Each of E networks is certified at :math:`\alpha` for an image. Whichever of them is chosen, by whatever rule,
its certificate says something false with probability at most :math:`E \alpha`; and for some networks and rules with
probability :math:`1 - (1 - \alpha)^E`. A certificate of the chosen network from noise that had no part in the choice
holds at :math:`\alpha`.

Proof. The certificate of the chosen network is false only if one of the E is: the union bound. Where all E are false
with probability :math:`\alpha`, independently, and the largest certificate is chosen, one false one is enough. Given
the choice, noise that is independent of it is the noise of a network that was fixed beforehand. ∎
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

from lightning import Callback

from lit_certattr.callbacks.metric_gate import MetricGate
from lit_certattr.models.checkpoint_file import read_checkpoint
from lit_certattr.statistics.rounding import total

KEY = "certified_selection"
"""Where a checkpoint holds the records."""
PREFIX = "certified/"
"""Of the names of metrics that rest on certificates."""


class Selection(NamedTuple):
    """How a checkpoint may have been chosen by what is certified.

    Attributes:
        monitors: Metrics that rest on certificates and by which callbacks have chosen.
        looks: How many networks had been certified when the checkpoint was written, itself included.
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
        """The selection that a checkpoint records, ``None`` for anything else; checkpoints are untrusted."""
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
    """What the certificates of the best of several networks may err with, at most.

    Args:
        alphas: Those of the certificates of one image.
        looks: Number of networks that were certified on the same noise and images.

    Example:
        >>> alpha_after_selection([0.001], looks=50), alpha_after_selection([0.05, 0.05], looks=50)
        (0.05, 1.0)
    """
    return min(1.0, total(alphas, looks))


def certified_monitors(callbacks: Iterable[Callback]) -> list[str]:
    """Metrics that rest on certificates and by which callbacks choose a checkpoint or the time to stop."""
    callbacks = list(callbacks)
    gates = {one.name for one in callbacks if isinstance(one, MetricGate) and one.metric.startswith(PREFIX)}
    monitored = {str(getattr(one, "monitor", None)) for one in callbacks}
    return [name for name in sorted(monitored) if name.startswith(PREFIX) or name in gates]


def recorded_selections(checkpoint: str | Path) -> list[Selection]:
    """By which certified metrics a checkpoint may have been chosen; none for files that do not say.

    Args:
        checkpoint: File of ``train.py fit``; nothing in it is executed.

    Raises:
        InputError: If it cannot be read.
    """
    records = read_checkpoint(Path(checkpoint)).get(KEY)
    found = [Selection.from_plain(record) for record in records] if isinstance(records, list) else []
    return [selection for selection in found if selection is not None and selection.monitors]
