"""Random numbers that belong to a method: drawn from its seed, the same for every image."""

from collections.abc import Callable, Hashable
from typing import Any, Self

import torch
from torch import Tensor


class Fixed(dict[Hashable, Any]):
    """A cache of values that a method computes once per shape; copies and pickles are empty and refill identically.

    Example:
        >>> import pickle
        >>> kept = Fixed()
        >>> kept.get_or_make((2, 2), lambda: torch.ones(2, 2)).sum(), len(pickle.loads(pickle.dumps(kept)))
        (tensor(4.), 0)
    """

    def get_or_make(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made by ``make`` the first time."""
        if key not in self:
            # Made under inference_mode it could not enter a graph later.
            with torch.inference_mode(False), torch.no_grad():
                self[key] = make()
        return self[key]

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()


def uniforms(seed: int, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1) from a generator of their own, float64 on the CPU: the same for every device.

    Args:
        seed: Seed of the generator.
        *shape: Shape of the result.
    """
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normals(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers from a generator of their own, float64 on the CPU.

    Args:
        seed: Seed of the generator.
        *shape: Shape of the result.
    """
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
