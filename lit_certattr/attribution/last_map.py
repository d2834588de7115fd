"""The last feature map of any network, found by running it once.

The modules of a network run inside each other. Of those at the outermost level, the last whose output is a feature map
that the logits depend on is the answer, unless what follows it holds a later one:

- a module that gives no feature map (a wrapped network, a head that begins with convolutions) is searched inside;
- poolings, dropouts and identities are skipped: the map is their input;
- where tokens are selected (a class token), the last blocks give patches that nothing depends on; the map is then
  the input of the last block of a chain of similar blocks.

Whether the logits depend on the patches is seen in a gradient. A second pass, cut at the map, makes sure that they
depend on the images through it alone. Both passes take fixed random images, so the answer depends on the network and on
the size of the images, and is kept as long as the modules stay the same.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from lit_certattr.attribution.base import as_logits
from lit_certattr.attribution.layouts import (
    Layout,
    Surroundings,
    Undecided,
    channels_on_last_axis,
    grids_of,
    layout_of,
    prefix_tokens,
)
from lit_certattr.errors import InputError
from lit_certattr.models.final_layer import FinalLayer, unknown_final_layer
from lit_certattr.models.modes import eval_mode

_PROBES = 3
_POOLING = re.compile(r"Pool(ing)?([123]d)?(Same)?$")
_CANCELS = 1e-3


@attrs.frozen
class _Found:
    """What is kept of a network: no module, which would keep the network alive."""

    name: str
    affine: bool
    normalised: bool


_kept: WeakKeyDictionary[nn.Module, dict[torch.Size, tuple[Any, _Found]]] = WeakKeyDictionary()
"""For each network and size of image its structure, and what was found."""


def last_map(model: nn.Module, images: Tensor) -> FinalLayer:
    """The last feature map of a network; two passes of three images, once per structure and size.

    Args:
        model: Network from images to logits; its mode stays unchanged.
        images: Images of the size that it takes ``[B, C, H, W]``, for their shape, type and device.

    Returns:
        The module, and what was seen of the rest of the network; without ``head``.

    Raises:
        InputError: If there is none, or the logits depend on the images in other ways too.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
        >>> last_map(net, torch.rand(1, 3, 8, 8)).module is net[1]
        True
    """
    structure = tuple((name, id(module), type(module)) for name, module in model.named_modules())
    sizes = _kept.setdefault(model, {})
    known = sizes.get(images.shape[1:])
    if known is None or known[0] != structure:
        known = sizes[images.shape[1:]] = structure, _find(model, images)
    found = known[1]
    module = model.get_submodule(found.name)
    return FinalLayer(model, module, None, affine=found.affine, normalised=found.normalised)


@attrs.define(eq=False)
class _Call:
    """One run of a module, and those inside it."""

    name: str
    module: nn.Module
    inside: list["_Call"] = attrs.field(factory=list)
    output: Any = None
    layout: Layout | None = None
    gradient: Tensor | None = None

    @property
    def is_map(self) -> bool:
        """The output is a feature map of more than one place."""
        return self.layout is not None

    @property
    def grid(self) -> torch.Size:
        """Rows and columns of that map."""
        assert self.gradient is not None
        return self.gradient.shape[2:]

    @property
    def is_collapsed(self) -> bool:
        """The output has one place: it is pooled, a class token, or the image is small for the network."""
        if not isinstance(self.output, Tensor) or self.output.ndim not in (3, 4):
            return False
        return (self.output.shape[1:2] if self.output.ndim == 3 else self.output.shape[2:]).numel() == 1

    @property
    def is_used(self) -> bool:
        """The logits depend on the places of that map."""
        return self.gradient is not None and bool(self.gradient.any())

    @property
    def passes_on(self) -> bool:
        """A pooling, dropout or identity, or a chain that ends with one."""
        if self.inside and isinstance(self.module, nn.Sequential):
            return self.inside[-1].passes_on
        kind = type(self.module).__name__
        return isinstance(self.module, nn.Identity | _DropoutNd) or _POOLING.search(kind) is not None


def _find(model: nn.Module, images: Tensor) -> _Found:
    shape = (_PROBES, *images.shape[1:])
    probes = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(images.device, images.dtype)
    with torch.inference_mode(False), torch.enable_grad(), eval_mode(model):
        root = _trace(model, probes.clone())
        runs = Counter(call.module for call in _calls(root))
        maps = _maps(root, lambda call: runs[call.module] == 1)
        if not maps:
            raise unknown_final_layer(model, "no module gives a feature map that the logits depend on")
        # The map before is of use where the last one is one of several readings of it, as an auxiliary head is.
        found = next(
            (call for call in maps[:-3:-1] if call.grid == maps[-1].grid and _is_cut(model, call, probes)), None
        )
        if found is None:
            last = maps[-1].name
            raise unknown_final_layer(model, f"the logits do not depend on {last!r} alone", last)
    assert found.layout is not None
    assert found.gradient is not None
    features, gradient = found.layout.read(found.output.detach()), found.gradient
    size = gradient.abs().amax()
    affine = bool((gradient[1:] - gradient[:1]).abs().amax() <= 1e-3 * size)
    cancels = [
        bool((part.sum(1).abs() <= _CANCELS * part.abs().sum(1)).all()) for part in (gradient, features * gradient)
    ]
    return _Found(found.name, affine, all(cancels) and not affine)


def _trace(model: nn.Module, images: Tensor) -> _Call:
    """All runs of modules in one pass, with the gradient of the logits at their outputs."""
    root = _Call("", nn.Identity())
    stack, linear = [root], list[Tensor]()

    def enter(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            stack.append(_Call(name, module))
            if isinstance(module, nn.Linear) and inputs and inputs[0].ndim == 2:
                linear.append(inputs[0])

        return hook

    def leave(_: nn.Module, __: Any, output: Any) -> Any:
        call = stack.pop()
        stack[-1].inside.append(call)
        call.output = output
        # A copy goes on: activations that work in place must not change what is kept.
        return output.clone() if isinstance(output, Tensor) else None

    with ExitStack() as hooks:
        grids = hooks.enter_context(grids_of(model, len(images)))
        for name, module in model.named_modules():
            hooks.callback(module.register_forward_pre_hook(enter(name)).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        logits = as_logits(model(images.requires_grad_(True).clone()))
    calls = [call for call in _calls(root) if isinstance(call.output, Tensor) and call.output.requires_grad]
    around = Surroundings("", model, "", prefix_tokens(model), tuple(grids))
    for call in calls:
        call.layout = _layout(call, attrs.evolve(around, label=call.name, name=call.name), images)
    maps = [call for call in calls if call.is_map]
    if maps:
        gradients = torch.autograd.grad(_objective(logits, linear), [call.output for call in maps], allow_unused=True)
        for call, gradient in zip(maps, gradients, strict=True):
            assert call.layout is not None
            call.gradient = None if gradient is None else call.layout.read(gradient)
    return root


def _objective(logits: Tensor, linear: list[Tensor]) -> Tensor:
    """A number that depends on all logits, and on what goes into the last linear layer, whose weights may be zero."""
    parts = [logits, *(tensor for tensor in linear[-1:] if tensor.requires_grad)]
    weights = [torch.rand(part.shape[1], generator=torch.Generator().manual_seed(1)) for part in parts]
    return sum((part * weight.to(part)).sum() for part, weight in zip(parts, weights, strict=True))  # type: ignore[return-value]


def _layout(call: _Call, around: Surroundings, images: Tensor) -> Layout | None:
    """How a feature map of more than one place lies in the output, if it does."""
    size = (images.shape[2], images.shape[3])
    try:
        try:
            layout = layout_of(call.output, size, len(images), around)
        except Undecided:
            around = attrs.evolve(around, on_last_axis=channels_on_last_axis(around.network, images[:1].detach()))
            layout = layout_of(call.output, size, len(images), around)
    except InputError:
        return None
    return layout if layout.read(call.output).shape[2:].numel() > 1 else None


def _calls(call: _Call) -> Iterator[_Call]:
    for inner in call.inside:
        yield inner
        yield from _calls(inner)


def _maps(call: _Call, runs_once: Callable[[_Call], bool]) -> list[_Call]:
    """The feature maps at the outermost level of a module that the logits depend on, the last one last."""
    maps: list[_Call] = []
    for inner in call.inside:
        if not inner.is_map:
            maps += [] if maps and inner.is_collapsed else _maps(inner, runs_once)
        elif inner.is_used:
            maps += _maps(inner, runs_once) if inner.passes_on or not runs_once(inner) else [inner]
        elif not any(type(other.module) is type(inner.module) and other.is_used for other in call.inside):
            before = _before_selection(inner, runs_once)
            maps += [] if before is None else [before]
    return maps


def _before_selection(call: _Call, runs_once: Callable[[_Call], bool]) -> _Call | None:
    """What the last of a chain of blocks takes, where nothing depends on the patches that it gives."""
    kinds = Counter(type(inner.module) for inner in call.inside if inner.inside)
    best: _Call | None = None
    for inner in call.inside:
        if kinds[type(inner.module)] > 1:
            best = inner if inner.is_used and runs_once(inner) else best
        elif inner.is_map and not inner.is_used:
            best = _before_selection(inner, runs_once) or best
    return best


def _is_cut(model: nn.Module, call: _Call, images: Tensor) -> bool:
    """Whether the logits depend on the images through the output of a module alone."""
    linear: list[Tensor] = []

    def note(_: nn.Module, inputs: Any) -> None:
        if inputs and inputs[0].ndim == 2:
            linear.append(inputs[0])

    with ExitStack() as hooks:
        hooks.callback(call.module.register_forward_hook(lambda _, __, output: output.detach()).remove)
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                hooks.callback(layer.register_forward_pre_hook(note).remove)
        images = images.detach().clone().requires_grad_(True)
        objective = _objective(as_logits(model(images.clone())), linear)
    if not objective.requires_grad:
        return True
    (gradient,) = torch.autograd.grad(objective, images, allow_unused=True)
    return gradient is None or not bool(gradient.any())
