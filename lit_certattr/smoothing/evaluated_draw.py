"""A block whose maps another process has computed."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from typing_extensions import override

from lit_certattr.smoothing.draw import Draw


class EvaluatedDraw(Draw):
    """A draw with maps, scores or logits that were computed before, perhaps by another process.

    Whatever else is asked for (the images, the noise, what was not computed) is drawn and computed again: the noise is
    a function of seed, image and sample, so it has the same bits.

    Args:
        length: Number of noisy images.
        target: Class that is explained.
        values: The computed values by name: ``maps``, ``scores`` and ``logits``, those that are there.
        num_extra: How many images passed the network for their logits alone.
        again: Draws the images again.

    Example:
        >>> import torch
        >>> draw = EvaluatedDraw(1, 0, {"maps": torch.ones(1, 2, 2)}, 0, lambda: None)
        >>> len(draw), draw.maps.sum().item(), draw.known_logits
        (1, 4.0, None)
    """

    def __init__(
        self, length: int, target: int, values: Mapping[str, Tensor], num_extra: int, again: Callable[[], Draw]
    ) -> None:
        self.target, self.num_extra = target, num_extra
        self._length, self._again = length, again
        vars(self).update(values)

    def __len__(self) -> int:
        return self._length

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of pickle and copy
            raise AttributeError(name)
        vars(self).update({key: value for key, value in vars(self._again()).items() if key not in vars(self)})
        if name not in vars(self):
            raise AttributeError(name)
        return vars(self)[name]

    @property
    @override
    def known_logits(self) -> Tensor | None:
        logits: Tensor | None = vars(self).get("logits")
        return logits
