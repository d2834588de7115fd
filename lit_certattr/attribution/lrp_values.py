"""Facts about the tensors and calls of a network, for relevance propagation."""

from collections.abc import Callable
from typing import Any

import attrs
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

Sizes = tuple[int, ...]


@attrs.frozen(eq=False)
class Branch:
    """A convolution of an input, or the scaling of its channels.

    Args:
        known: The input.
        weight: Weights of the convolution, or one scale per channel ``[C]``.
        bias: Constant that is added, ``[C]``; or ``None``.
        convolution: The function; ``None`` for a scaling.
        stride: As for the function, one number per axis.
        padding: Likewise.
        dilation: Likewise.
        groups: Groups of the convolution.
    """

    known: "Traced"
    weight: Tensor
    bias: Tensor | None
    convolution: Callable[..., Tensor] | None = None
    stride: Sizes = ()
    padding: Sizes = ()
    dilation: Sizes = ()
    groups: int = 1

    def layer(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """The convolution without its bias."""
        assert self.convolution is not None
        return self.convolution(inputs, weight, None, self.stride, self.padding, self.dilation, self.groups)


@attrs.frozen(eq=False)
class Traced:
    """A tensor that depends on the images, and what is known of it.

    Args:
        tensor: The tensor.
        nonnegative: It has no negative values.
        gate: It lies between 0 and 1 to scale something else, as in squeeze and excitation.
        image: It is still an image: normalised, padded or cut, but no layer has seen it.
        box: For an image, values between which it lies, of its shape.
        branch: The convolution or batch normalisation that it comes from, or a sum of such that is one layer.
    """

    tensor: Tensor
    nonnegative: bool = False
    gate: bool = False
    image: bool = False
    box: tuple[Tensor, Tensor] | None = None
    branch: Branch | None = None

    @property
    def unfolded(self) -> bool:
        """It comes from a batch normalisation that follows no layer, and can only be a summand."""
        return self.branch is not None and self.branch.convolution is None


@attrs.frozen(eq=False)
class Call:
    """A call of a function with arguments that depend on the images.

    Args:
        func: The function.
        args: Its positional arguments.
        kwargs: Its other arguments.
        inputs: What is known of the arguments that depend on the images, by their places among all leaves.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: dict[int, Traced]

    @property
    def name(self) -> str:
        """Name of the function, without underscores."""
        return self._own_name.strip("_")

    @property
    def _own_name(self) -> str:
        return str(getattr(self.func, "__name__", self.func))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The arguments that depend on the images."""
        return tuple(traced.tensor for traced in self.inputs.values())

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument, however it was passed."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def again(self, *tensors: Tensor) -> Any:
        """The same call with other tensors, which are not written to even if the function works in place."""
        own = self._own_name
        writes = own.startswith("__i") or (own.endswith("_") and not own.endswith("__")) or self.kwargs.get("inplace")
        leaves, structure = tree_flatten((self.args, self.kwargs))
        for place, tensor in zip(self.inputs, tensors, strict=True):
            leaves[place] = tensor.clone() if writes else tensor
        args, kwargs = tree_unflatten(leaves, structure)
        return self.func(*args, **kwargs)
