"""The path of an accelerator, on a CPU."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from lit_certattr.metrics.functional import agreement, diverse, kendall_tau, lens, ranking
from lit_certattr.smoothing import sparsify


@contextlib.contextmanager
def values_cost_a_wait() -> Iterator[None]:
    """As if asking for a value stopped the device: no NumPy, no SciPy, no scan."""
    with contextlib.ExitStack() as stack:
        for module in (agreement, diverse, kendall_tau, lens, ranking, sparsify):
            stack.enter_context(mock.patch.object(module, "values_are_free", return_value=False))
        yield
