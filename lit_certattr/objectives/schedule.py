"""The weight of a regulariser over the epochs."""

import math
from dataclasses import dataclass
from typing import Self

from lit_certattr.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """A number that is zero for the first epochs and may then increase linearly to its value.

    With a penalty on attributions from the first step, training finds a trivial solution, a network whose maps are all
    the same, before the network has learnt anything that could be explained.

    Args:
        value: Final value; 0 or more.
        warmup_epochs: Number of epochs with value zero, at least 0; fractions are allowed.
        ramp_epochs: Number of epochs after them in which the value increases to ``value``, at least 0.

    Raises:
        InputError: If a number is negative or not finite.

    Example:
        >>> weight = Schedule(2.0, warmup_epochs=5, ramp_epochs=2)
        >>> [weight.at(epoch) for epoch in (0, 5, 6, 7, 90)]
        [0.0, 0.0, 1.0, 2.0, 2.0]
    """

    value: float
    warmup_epochs: float = 0.0
    ramp_epochs: float = 0.0

    def __post_init__(self) -> None:
        for name in ("value", "warmup_epochs", "ramp_epochs"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number >= 0):
                raise InputError(f"{name} of a schedule must be a number of at least 0, got {number}")

    @classmethod
    def of(cls, weight: "float | Schedule") -> Self:
        """The schedule itself; for a number, a schedule with this value from the first step.

        Args:
            weight: A schedule, or a number of at least 0.
        """
        return weight if isinstance(weight, cls) else cls(float(weight))  # type: ignore[arg-type]

    def at(self, epoch: float) -> float:
        """The number at an epoch, counted from 0; in the middle of epoch 3 it is 3.5."""
        if epoch < self.warmup_epochs:
            return 0.0
        if not self.ramp_epochs:
            return self.value
        return self.value * min(1.0, (epoch - self.warmup_epochs) / self.ramp_epochs)
