"""A record of all functions that a network applies to images, for the backward pass of relevance."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lit_certattr.attribution.lrp_calls import Rules
from lit_certattr.attribution.lrp_rules import Rule
from lit_certattr.attribution.lrp_values import Call, Traced
from lit_certattr.errors import InputError


class Tape(TorchFunctionMode):
    """Records every function that depends on the images, inside the block.

    Calls are detected when Python makes them, so no module is changed. The tensors are ordinary ones: with a graph, the
    relevance can be differentiated like anything else.

    Args:
        images: The images that go into the network.
        rules: A rule for every function.
        box: Lowest and highest pixel, for the z-box rule in the first convolution; ``None`` for z+ there too.
    """

    def __init__(self, images: Tensor, rules: Rules, box: tuple[float, float] | None = None) -> None:
        super().__init__()
        self.images, self.rules = images, rules
        low_and_high = None
        if box is not None:
            pixels = images.detach()
            low_and_high = (torch.full_like(pixels, box[0]), torch.full_like(pixels, box[1]))
        # By id: the tensors are held, so no other can get the id of one.
        self.known = {id(images): Traced(images, image=True, box=low_and_high)}
        self.steps: list[tuple[tuple[Tensor, ...], Tensor, Rule]] = []

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        inputs = {place: self.known[id(leaf)] for place, leaf in enumerate(leaves) if id(leaf) in self.known}
        if not inputs:
            return func(*args, **(kwargs or {}))
        call = Call(func, args, kwargs or {}, inputs)
        result = call.again(*call.tensors)
        for index, output in enumerate(tree_leaves(result)):
            # Shapes and types are no tensors, and what returns its argument did nothing.
            if isinstance(output, Tensor) and id(output) not in self.known:
                receivers, rule, self.known[id(output)] = self.rules.of(call, output, index)
                self.steps.append((receivers, output, rule))
        return result

    def propagate(self, output: Tensor, relevance: Tensor) -> Tensor:
        """Relevance of the images from the relevance of an output; empties the tape, so that memory is freed meanwhile.

        Args:
            output: Output of the network inside the block.
            relevance: Its relevance, of its shape.

        Raises:
            InputError: If the output does not come from the images through functions that Python calls.
        """
        if id(output) not in self.known:
            name = self.rules.network
            raise InputError(f"LRP cannot see what {name} does: it is scripted, compiled, or leaves PyTorch")
        received = {id(output): relevance}
        while self.steps:
            receivers, output, rule = self.steps.pop()
            own = received.pop(id(output), None)
            if own is not None:
                for tensor, share in zip(receivers, rule(own), strict=True):
                    before = received.get(id(tensor))
                    received[id(tensor)] = share if before is None else before + share
        return received.get(id(self.images), torch.zeros_like(self.images))
