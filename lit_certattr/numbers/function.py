"""A number that the user's own function gives."""

import sys
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.numbers.base import Number
from lit_certattr.settings import is_line, real_number
from lit_certattr.settings.source import is_users


class FunctionNumber(Number):
    """The number that a function of yours gives each map.

    The function must look at each map alone, and give NaN where a map has no such number. A value outside the declared
    range ends the run, as the certificate of a range would be false.

    Args:
        function: From maps ``[b, H, W]`` to numbers ``[b]``: a function at the top of a module, or the dotted path of
            one in a module that is imported already.
        name: What it is, as it stands in the middle of a sentence, e.g. ``"the largest value of the map"``.
        range_low: Smallest value; ``None`` for a number without a range.
        range_high: Largest value; ``None`` for a number without a range.

    Raises:
        InputError: If the function is none, the name is empty, or the range is empty or has one end only.
    """

    needs_plane: ClassVar[bool] = False

    def __init__(
        self,
        function: Callable[[Tensor], Tensor] | str,
        name: str,
        range_low: float | None = 0.0,
        range_high: float | None = 1.0,
    ) -> None:
        if (range_low is None) != (range_high is None):
            raise InputError("give both range_low and range_high, or neither")
        if range_low is not None and range_high is not None:
            lowest, highest = real_number("range_low", range_low), real_number("range_high", range_high)
            if not -torch.inf < lowest < highest < torch.inf:
                raise InputError(f"range_low must be below range_high, got {range_low} and {range_high}")
            if highest - lowest == torch.inf:
                raise InputError(
                    f"the range from {range_low} to {range_high} is too wide for a float: give a narrower one"
                )
        if not is_line(name):
            raise InputError(f"name must be one line that says what the number is, got {name!r:.80}")
        self.function, self.name, self.range_low, self.range_high = function, name, range_low, range_high
        self.low, self.high = range_low, range_high  # type: ignore[misc]
        self._function = _imported(function) if isinstance(function, str) else function
        if not callable(self._function):
            raise InputError(f"function must be a function from maps [b, H, W] to numbers [b], got {function!r:.80}")

    @override
    def values(self, maps: Tensor) -> Tensor:
        values = self._function(maps)
        if not isinstance(values, Tensor) or values.shape != maps.shape[:1]:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(f"{self.name}: the function must give one number for each map, [{len(maps)}], got {got}")
        if values.is_complex():
            raise InputError(
                f"{self.name}: the function gives complex numbers: give real ones, e.g. their absolute values"
            )
        return values.to(maps.device)

    @override
    def check(self, map_shape: Sequence[int]) -> None:
        """Try the function on random maps: alone and together they must have the same numbers, and stay unchanged.

        Raises:
            InputError: If they do not, or the function fails; the message names the remedy.
        """
        super().check(map_shape)
        maps = torch.randn((4, *map_shape), generator=torch.Generator().manual_seed(0))
        tried = maps.clone()
        try:
            together = self(tried).detach().double()
            alone = torch.cat([self(one[None].clone()).detach().double() for one in maps])
        except InputError:
            raise
        except Exception as error:  # whatever the user's function raises
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self.name}: the function failed on random maps: {type(error).__name__}: {reason}"
            ) from None
        if not torch.equal(tried, maps):
            raise InputError(
                f"{self.name}: the function changes its maps in place: let it work on a copy, maps.clone()"
            )
        if not torch.allclose(together, alone, rtol=1e-3, atol=1e-6, equal_nan=True):
            raise InputError(
                f"{self.name}: the function gives a map other numbers beside other maps, or at another time: it must "
                "look at each map alone, without chance, for example maps.flatten(1).mean(1) and not maps.mean()"
            )

    @override
    def in_words(self) -> str:
        return self.name


def _imported(path: str) -> Callable[[Tensor], Tensor]:
    """A function of a module that somebody has imported; nothing is imported for it."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if not callable(found) or not is_users(found):  # a record must not make us call whatever Python has
        raise InputError(f"function {path!r:.120} is not known here: import your module that defines it first")
    return found  # type: ignore[no-any-return]
