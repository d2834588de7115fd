"""Which rule of relevance propagation belongs to a call of a PyTorch function."""

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.overrides import resolve_name
from torch.utils._pytree import tree_leaves

from lit_certattr.attribution.lrp_branches import merged, of_batch_norm, of_convolution
from lit_certattr.attribution.lrp_rules import (
    Layer,
    Rule,
    Signed,
    epsilon_rule,
    passed,
    rearranged,
    shared,
    z_box_rule,
    z_plus_rule,
)
from lit_certattr.attribution.lrp_values import Branch, Call, Traced
from lit_certattr.errors import InputError

# Functions by name, without the underscores that only tell who calls them: relu_, _max_pool2d, __iadd__.
_GATES = {"sigmoid", "hardsigmoid"}
_POSITIVE = {"relu", "relu6", "softplus"} | _GATES
_ACTIVATIONS = _POSITIVE | {
    *("hardtanh", "leaky_relu", "elu", "selu", "celu", "silu", "gelu", "mish", "hardswish", "tanh"),
}
_AVERAGES = {
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "mean", "sum"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
}
_REARRANGEMENTS = {
    *("flatten", "unflatten", "ravel", "view", "view_as", "reshape", "reshape_as", "squeeze", "unsqueeze"),
    *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint"),
    *("contiguous", "clone", "to", "float", "double", "half", "bfloat16", "type_as"),
    *("getitem", "narrow", "select", "index_select", "unbind", "chunk", "split", "tensor_split", "diagonal"),
    *("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "pad", "flip", "fliplr", "flipud"),
    *("roll", "rot90", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "unfold"),
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
    *("max_pool1d", "max_pool2d", "max_pool3d", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
    *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
}
_SUMS = {"add", "iadd", "radd"}
_SHIFTS = _SUMS | {"sub", "isub", "subtract"}
_FACTORS = {"mul", "imul", "rmul", "multiply"}
_ALONE = "the batch normalisations that do not directly follow a convolution or linear layer"
_QUOTIENTS = {"div", "itruediv", "truediv", "divide"}


@attrs.frozen(eq=False)
class Rules:
    """The composite: a rule for every function that it knows.

    Args:
        epsilon: Stabilises the divisions.
        signed: From a weight to its positive and negative part.
        network: Name of the network, for errors.
    """

    epsilon: float
    signed: Callable[[Tensor], Signed]
    network: str

    def of(self, call: Call, output: Tensor, index: int) -> tuple[tuple[Tensor, ...], Rule, Traced]:
        """Rule of one output of a call.

        Args:
            call: The call.
            output: The output.
            index: Which of the outputs it is.

        Returns:
            The inputs that get relevance, the rule that gives it to them, and what is known of the output.

        Raises:
            InputError: If there is no rule.
        """
        name, inputs = call.name, list(call.inputs.values())
        places = tuple(call.inputs)
        if name in _SHIFTS and places == (0,) and _is_zero(call.argument(1, "other")):  # a branch that is not there
            return call.tensors, passed, attrs.evolve(inputs[0], tensor=output)
        if any(known.unfolded for known in inputs) and name not in _SUMS:
            raise InputError(f"LRP has no rule for {_ALONE} of {self.network}")
        if name == "batch_norm" and places == (0,) and not call.argument(5, "training", False):
            scaling = of_batch_norm(call, inputs[0])
            return call.tensors, self._scaling(scaling), Traced(output, branch=scaling)
        if name in _SUMS and len(inputs) == 2 and (branch := merged(inputs[0].branch, inputs[1].branch)) is not None:
            rule = self._scaling(branch) if branch.convolution is None else self._branch(branch)
            return (branch.known.tensor,), rule, Traced(output, branch=branch)
        if name in ("linear", "conv1d", "conv2d", "conv3d") and places == (0,):
            branch = None if name == "linear" else of_convolution(call, inputs[0])
            return call.tensors, self._layer(call, inputs[0]), Traced(output, branch=branch)
        if name in _ACTIVATIONS:
            positive = name in _POSITIVE or (name == "hardtanh" and call.argument(1, "min_val", -1.0) >= 0)
            return call.tensors, passed, Traced(output, nonnegative=positive, gate=name in _GATES)
        if name in _AVERAGES or (name in _SUMS and len(inputs) == 2):
            return call.tensors, self._sum(call), Traced(output, nonnegative=all(known.nonnegative for known in inputs))
        if name in _REARRANGEMENTS:
            return call.tensors, _rearrangement(call, index), _moved(call, output, index)
        if len(inputs) == 1 and output.shape == inputs[0].tensor.shape:
            shift = name in _SHIFTS and inputs[0].image  # elsewhere a constant would take a share, like a bias
            if name in _FACTORS or ((shift or name in _QUOTIENTS) and places == (0,)):
                return call.tensors, passed, Traced(output, **_image_facts(call, 0))
        signals = [known.tensor for known in inputs if not known.gate]
        if name in _FACTORS and len(inputs) == 2 and len(signals) == 1 and output.shape == signals[0].shape:
            return tuple(signals), passed, Traced(output)  # the signal takes all (Arras et al., 2017)
        raise InputError(f"LRP has no rule for {self._described(call)} of {self.network}")

    def _described(self, call: Call) -> str:
        if call.name == "batch_norm":
            return _ALONE
        if call.name in _SHIFTS and len(call.inputs) == 1:
            return "a constant that is added inside the network"
        if call.name in _FACTORS and len(call.inputs) == 2:
            return "a product of two activations"
        try:
            return str(resolve_name(call.func) or call.name)
        except Exception:  # it is only for the message
            return call.name

    def _sum(self, call: Call) -> Rule:
        return lambda relevance: shared(call.again, call.tensors, relevance, self.epsilon)

    def _scaling(self, branch: Branch) -> Rule:
        """A batch normalisation beside other branches: its shift takes its share, as a bias does."""
        inputs = branch.known.tensor
        weight, bias = (_per_channel(part, inputs.ndim) for part in (branch.weight, branch.bias))
        assert weight is not None
        return lambda relevance: epsilon_rule(torch.mul, weight, bias, inputs, relevance, self.epsilon)

    def _branch(self, branch: Branch) -> Rule:
        """Branches that are one convolution."""
        signed = branch.weight.clamp(min=0), branch.weight.clamp(max=0)  # not kept: the sum is new in every pass
        return self._convolution(branch.layer, signed, branch.bias, branch.known)

    def _layer(self, call: Call, known: Traced) -> Rule:
        weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
        rest = {key: value for key, value in call.kwargs.items() if key not in ("input", "weight", "bias")}

        def layer(inputs: Tensor, weight: Tensor) -> Tensor:
            return call.func(inputs, weight, None, *call.args[3:], **rest)  # type: ignore[no-any-return]

        if call.name == "linear":
            return lambda relevance: epsilon_rule(layer, weight, bias, known.tensor, relevance, self.epsilon)
        # The signs are made when they are needed: a branch of a sum may get no relevance of its own.
        return lambda relevance: self._convolution(layer, self.signed(weight), bias, known)(relevance)

    def _convolution(self, layer: Layer, signed: Signed, bias: Tensor | None, known: Traced) -> Rule:
        if known.box is not None:
            box = known.box
            return lambda relevance: z_box_rule(layer, signed, box, known.tensor, relevance, self.epsilon)
        constant = _per_channel(bias, known.tensor.ndim)
        return lambda relevance: z_plus_rule(
            layer, signed, constant, known.tensor, relevance, self.epsilon, known.nonnegative
        )


def _per_channel(values: Tensor | None, axes: int) -> Tensor | None:
    """Values ``[C]`` in a shape that broadcasts to ``[B, C, ...]``."""
    return None if values is None else values.view(1, -1, *[1] * (axes - 2))


def _is_zero(value: Any) -> bool:
    """The number 0, not a tensor: that would take a look at its values."""
    return isinstance(value, int | float) and value == 0


def _rearrangement(call: Call, index: int) -> Rule:
    def one(*tensors: Tensor) -> Tensor:
        return tree_leaves(call.again(*tensors))[index]  # type: ignore[no-any-return]

    return lambda relevance: rearranged(one, call.tensors, relevance)


def _moved(call: Call, output: Tensor, index: int) -> Traced:
    inputs = call.inputs.values()
    padded_below_zero = call.name == "pad" and (call.argument(3, "value") or 0) < 0
    nonnegative = all(known.nonnegative for known in inputs) and not padded_below_zero
    facts = _image_facts(call, index) if len(inputs) == 1 else {}
    return Traced(output, nonnegative=nonnegative, gate=all(known.gate for known in inputs), **facts)


def _image_facts(call: Call, index: int) -> dict[str, Any]:
    """What a function that keeps an image an image makes of its box."""
    (known,) = call.inputs.values()
    if known.box is None:
        return {"image": known.image}
    ends = [tree_leaves(call.again(end))[index] for end in known.box]
    return {"image": True, "box": (torch.minimum(*ends), torch.maximum(*ends))}
