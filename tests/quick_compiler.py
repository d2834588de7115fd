"""A compiler for tests: ``torch.compile`` with its real tracing, but without generating code, which takes seconds."""

from collections import Counter
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd


class QuickCompiler:
    """Stands in for :func:`lit_certattr.models.compiled_network.compiled`.

    Args:
        replays: Whether a graph returns the same memory each time, as CUDA graphs do.

    Attributes:
        graphs: Number of compiled graphs by the number of images that they take.
        runs: How often the forward graphs ran, by the number of images.
    """

    def __init__(self, replays: bool = False) -> None:
        self.replays = replays
        self.graphs: Counter[int] = Counter()
        self.runs: Counter[int] = Counter()

    def __call__(self, network: torch.nn.Module, mode: str) -> Any:
        return torch.compile(network, fullgraph=True, dynamic=False, backend=self._backend)

    def _backend(self, graph: Any, inputs: Any) -> Any:
        size = next(len(value) for value in inputs if isinstance(value, torch.Tensor) and value.ndim == 4)
        self.graphs[size] += 1
        made = aot_autograd(fw_compiler=self._as_it_is, bw_compiler=self._as_it_is)(graph, inputs)

        def run(*given: Any) -> Any:
            self.runs[size] += 1
            return made(*given)

        return run

    def _as_it_is(self, graph: Any, inputs: Any) -> Any:
        memory: list[Any] = []

        def run(given: list[Any]) -> Any:
            results = list(graph(*given))
            given.clear()
            if not self.replays:
                return results
            if not memory:
                memory.extend(one.clone() if isinstance(one, torch.Tensor) else one for one in results)
            for kept, new in zip(memory, results, strict=True):
                if isinstance(new, torch.Tensor):
                    kept.copy_(new)
            return [one.detach() if isinstance(one, torch.Tensor) else one for one in memory]

        run._boxed_call = True  # type: ignore[attr-defined]
        return run
