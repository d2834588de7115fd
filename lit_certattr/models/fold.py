"""Batch normalisation folded into the convolution before it: the same function, fewer steps."""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lit_certattr.devices import exact_dtype
from lit_certattr.errors import InputError
from lit_certattr.models.layers import keep_inputs

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def fold_batch_norm(network: nn.Module, image: Tensor) -> nn.Module:
    r"""A copy of a network in eval mode whose batch normalisations are part of the layer before them.

    Where a normalisation is applied to the output of a convolution or linear layer and nothing else uses that output,
    :math:`\gamma\,(w * x + b - \mu)/\sqrt{v + \epsilon} + \beta` is one convolution with weights
    :math:`w\gamma/\sqrt{v + \epsilon}`. Which layers follow each other is observed in one pass over ``image``, not
    guessed from their order; other normalisations stay. The fold is exact in real arithmetic, and done in float64, so
    logits agree up to rounding, which is checked. For a certificate, a network with other rounding is another network.

    Modules keep their names; a folded normalisation becomes the activation that it held (timm), or an identity.

    Args:
        network: Network that takes images; it stays unchanged. It may be in any mode; the copy is in eval mode.
        image: One image ``[1, C, H, W]`` that the network accepts, on its device.

    Returns:
        The copy. Its parameters need no gradient, and its activations do not work in place.

    Raises:
        InputError: If the network cannot be copied, or the folded copy gives other logits: its forward then uses the
            weights in a way that the fold does not know.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        >>> fold_batch_norm(network, torch.rand(1, 1, 4, 4))
        Sequential(
          (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
          (2): ReLU()
        )
    """
    return _fold(network, image).module


@attrs.frozen(eq=False)
class Folded:
    """A folded copy, and how its tensors are computed from the tensors of the network.

    Args:
        module: The copy.
        pairs: Names ``(layer, normalisation)`` of each folded pair.
    """

    module: nn.Module
    pairs: tuple[tuple[str, str], ...]

    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """The parameters and buffers of the copy, computed from the network's, for ``torch.func.functional_call``.

        Args:
            network: The network that was folded; its parameters get the gradients.
        """
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        tensors = {name: own[name] for name in self.module.state_dict() if name in own}
        for layer, norm in self.pairs:
            parts = _merged(network.get_submodule(layer), network.get_submodule(norm))
            tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = parts
        return tensors


_kept: WeakKeyDictionary[nn.Module, tuple[Any, Folded]] = WeakKeyDictionary()


def folded_copy(network: nn.Module, image: Tensor) -> Folded:
    """:func:`fold_batch_norm`, cached as long as the network exists and its tensors and modules stay unchanged.

    All changes that PyTorch counts are detected; writing through ``tensor.data`` is not.

    Args:
        network: See :func:`fold_batch_norm`.
        image: See :func:`fold_batch_norm`.
    """
    state = tensor_versions(network)
    known = _kept.get(network)
    if known is None or known[0] != state:
        known = (state, _fold(network, image))
        _kept[network] = known
    return known[1]


def tensor_versions(network: nn.Module) -> tuple[Any, ...]:
    """A key that changes when a tensor of the network is written, replaced or moved, or a module is replaced.

    Args:
        network: The network.
    """
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return (
        *((name, id(t), t.data_ptr(), None if t.is_inference() else t._version, t.dtype) for name, t in tensors),
        *((name, id(module), type(module)) for name, module in network.named_modules()),
    )


def _inside(network: nn.Module) -> str:
    """What to use in place of a wrapper that cannot be copied, e.g. of several processes."""
    return (
        "; use the network inside it, network.module" if isinstance(getattr(network, "module", None), nn.Module) else ""
    )


def _fold(network: nn.Module, image: Tensor) -> Folded:
    try:
        folded = copy.deepcopy(network)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{type(network).__name__} cannot be copied, so its batch normalisation cannot be folded: "
            f"{str(error).splitlines()[0]:.100}{_inside(network)}"
        ) from error
    folded.eval().requires_grad_(False)
    keep_inputs(folded)
    kind = image.device.type
    exact = torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
    with torch.inference_mode(False), torch.no_grad(), exact:
        pairs, before = _pairs(folded, image)
        for layer, norm in pairs:
            linear, normalisation = folded.get_submodule(layer), folded.get_submodule(norm)
            weight, bias = _merged(linear, normalisation)
            linear.weight = nn.Parameter(weight, requires_grad=False)
            linear.bias = nn.Parameter(bias, requires_grad=False)
            parent, _, child = norm.rpartition(".")
            setattr(folded.get_submodule(parent), child, _what_is_left(normalisation))
        _compare(type(network).__name__, before, folded(image.clone()))
    return Folded(folded, tuple(pairs))


class _Uses(TorchFunctionMode):
    """Counts how often each watched tensor goes into something that makes tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: dict[int, Tensor] = {}
        self.count: Counter[int] = Counter()

    def watch(self, tensor: Tensor) -> None:
        self.watched[id(tensor)] = tensor  # held, so that no other tensor gets its id

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            for leaf in tree_leaves((args, kwargs)):
                if id(leaf) in self.watched:
                    self.count[id(leaf)] += 1
        return result


def _pairs(network: nn.Module, image: Tensor) -> tuple[list[tuple[str, str]], Any]:
    """Names of the layers whose output goes into one normalisation alone, with its name; and the network's output."""
    uses = _Uses()
    names = {module: name for name, module in network.named_modules()}
    makers: dict[int, nn.Module] = {}
    found: list[tuple[nn.Module, nn.Module, int]] = []
    runs: Counter[nn.Module] = Counter()

    def after_layer(layer: nn.Module, _: Any, output: Tensor) -> None:
        runs[layer] += 1
        uses.watch(output)
        makers[id(output)] = layer

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[norm] += 1
        layer = makers.get(id(inputs[0]))
        # A weight that is computed at every pass (weight norm) is no parameter, and cannot be replaced.
        if layer is not None and norm.running_mean is not None and "weight" in layer._parameters and names[norm]:
            found.append((layer, norm, id(inputs[0])))

    with _hooked(network, after_layer, before_norm), uses:
        output = network(image.clone())  # a network may write to what it gets
    single = [(layer, norm) for layer, norm, key in found if uses.count[key] == runs[layer] == runs[norm] == 1]
    return [(names[layer], names[norm]) for layer, norm in single], output


@contextmanager
def _hooked(network: nn.Module, after_layer: Any, before_norm: Any) -> Iterator[None]:
    handles = []
    for module in network.modules():
        if isinstance(module, _LAYERS):
            handles.append(module.register_forward_hook(after_layer))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _merged(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer with the normalisation in them, computed in float64."""
    weight, bias, mean, variance = layer.weight, layer.bias, norm.running_mean, norm.running_var
    gain, offset = norm.weight, norm.bias
    assert isinstance(weight, Tensor)
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    wide = exact_dtype(weight.device)
    scale = (variance.to(wide) + float(norm.eps)).rsqrt()  # type: ignore[arg-type]
    scale = scale if gain is None else scale * gain.to(wide)
    shift = bias.to(wide) - mean.to(wide) if isinstance(bias, Tensor) else -mean.to(wide)
    shift = shift * scale if offset is None else shift * scale + offset.to(wide)
    scaled = weight.to(wide) * scale.view(-1, *[1] * (weight.ndim - 1))
    return scaled.to(weight.dtype), shift.to(weight.dtype)


def _what_is_left(norm: nn.Module) -> nn.Module:
    """What a normalisation holds beside itself: in timm, a regulariser and an activation."""
    rest = [module for module in norm.children() if not isinstance(module, nn.Identity)]
    return nn.Sequential(*rest) if rest else nn.Identity()


def _compare(name: str, before: Any, after: Any) -> None:
    for old, new in zip(tree_leaves(before), tree_leaves(after), strict=True):
        if not isinstance(old, Tensor) or old.is_meta:  # a meta tensor has no values
            continue
        tolerance = 4 * torch.finfo(old.dtype).eps ** 0.5 * float(old.abs().max())
        difference = float((old - new).abs().max())
        if not difference <= tolerance:
            raise InputError(
                f"the batch normalisation of {name} cannot be folded: its outputs then differ by {difference:.3g}"
            )
