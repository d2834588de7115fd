"""Methods of Captum as methods that can be certified."""

import inspect
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import ChannelReduction
from lit_certattr.attribution.layers import LayerAttribution
from lit_certattr.attribution.places import find_place
from lit_certattr.errors import InputError
from lit_certattr.models.names import suggestion
from lit_certattr.settings import whole_number
from lit_certattr.settings.extras import extra
from lit_certattr.settings.plain import copied

_RANDOM = ("LimeBase", "GradientShap", "LayerGradientShap", "ShapleyValueSampling")
"""Explainers of Captum, with their subclasses, that draw random numbers."""
_OF_BATCHES = ("FeaturePermutation", "LayerFeaturePermutation")
"""Explainers that put the pixels of one image into another."""
_HOOKING = ("DeepLift", "GuidedBackprop", "Deconvolution", "GuidedGradCam", "LRP")
"""Explainers, with their subclasses, that change the backward pass of layers."""
_SIGNED = ("LayerGradCam", "GuidedGradCam")
"""Explainers whose negative values speak against the class, so that their absolute values would mislead."""


class CaptumAttribution(LayerAttribution):
    """A method of Captum: it is made for the network that is certified, at every call.

    Attributions ``[B, C, h, w]`` are reduced over the channels to maps. Those of a layer are resized to the image
    unless ``upsample`` is off, as those of the methods of this package. Random methods (``Lime``, ``KernelShap``,
    ``GradientShap``, ``ShapleyValueSampling``) draw the same numbers for every image, one image at a time, so that
    their map is one fixed function of the image. ``NoiseTunnel`` is no such function: use
    :class:`~lit_certattr.attribution.SmoothGrad` around a :class:`CaptumAttribution`. Captum is imported on use.

    Args:
        explainer: A class of ``captum.attr``, its name, or a subclass of your own.
        options: Arguments of its constructor and of its ``attribute``, by name, e.g. ``{"n_steps": 20}``. A number as
            ``"baselines"`` fills a whole image.
        layer: For explainers of a layer: ``"final"``, or the name of a module, see :class:`LayerAttribution`.
        upsample: See :class:`LayerAttribution`.
        channels: Channel reduction, see :class:`Attribution`; ``None`` for ``"sum"`` where negative values speak
            against the class (``LayerGradCam``, ``GuidedGradCam``), and ``"sum_abs"`` elsewhere.
        seed: Seed of random methods.

    Raises:
        InputError: If there is no such class, it explains something else than a map of an image, an option or the
            layer is missing or unknown; when called, if its attributions are no maps, or are asked for with a graph.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> method = CaptumAttribution("IntegratedGradients", options={"n_steps": 8})
        >>> method(net, torch.rand(2, 1, 4, 4), torch.tensor([0, 2])).shape
        torch.Size([2, 4, 4])

    Reference: Kokhlikyan et al., "Captum: A unified and generic model interpretability library for PyTorch", 2020.
    """

    def __init__(
        self,
        explainer: str | type,
        options: Mapping[str, Any] | None = None,
        layer: str = "input",
        upsample: bool = True,
        channels: ChannelReduction | None = None,
        seed: int = 0,
    ) -> None:
        self._kind = _kind_of(explainer)
        name = self._kind.__name__
        super().__init__(layer, upsample, channels or ("sum" if is_kind(self._kind, _SIGNED) else "sum_abs"))
        self.explainer: str | type = name if _is_captums(self._kind) else self._kind
        self.options = dict(options or {})
        self.seed = whole_number("seed", seed)
        made, asked = _parameters(self._kind.__init__), _parameters(self._kind.attribute)
        if needs_layer(self._kind) and layer == "input":
            raise InputError(f"{name} of Captum explains a layer: give layer='final', or the name of a module")
        if not needs_layer(self._kind) and layer != "input":
            raise InputError(f"{name} of Captum explains pixels and takes no layer: leave layer out")
        known = {**made, **asked}.keys() - {*list(made)[:1], "layer", "inputs", "target", "return_convergence_delta"}
        if unknown := sorted(self.options.keys() - known):
            raise InputError(f"{name} of Captum has no option {unknown[0]!r}; {suggestion(unknown[0], known)}")
        missing = [one for one in known - self.options.keys() if ({**made, **asked})[one].default is inspect._empty]
        if missing:
            raise InputError(f"{name} of Captum needs {missing[0]}: give options={{{missing[0]!r}: ...}}")
        self._made_with = {key: value for key, value in self.options.items() if key in made}
        self._asked_with = {key: value for key, value in self.options.items() if key not in made}

    @property
    def needs_layers(self) -> bool:  # type: ignore[override]
        """Whether the explainer sets hooks on layers."""
        return self.layer != "input" or is_kind(self._kind, _HOOKING)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        name = self._kind.__name__
        if create_graph:
            raise InputError(
                f"{name} of Captum gives maps without a graph, so they cannot be attacked or trained on: "
                "use a method of lit_certattr.attribution"
            )
        one_by_one = is_kind(self._kind, _RANDOM)
        parts = zip(images.split(1), targets.split(1), strict=True) if one_by_one else [(images, targets)]
        with torch.inference_mode(False), torch.enable_grad(), _without_advice():
            return torch.cat([self._map(model, *part) for part in parts])

    def _map(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        asked = self._asked_with | {"target": targets}
        place: list[nn.Module] = []
        if self.layer != "input":
            found = find_place(model, self.layer, images)
            if found.place == "relu":
                raise InputError(f"layer {self.layer!r} of {type(model).__name__} is no module: name one")
            place, asked = [found.module], asked | {"attribute_to_layer_input": found.place == "input"}
        takes = _parameters(self._kind.attribute)
        explainer = self._kind(model, *place, **self._made_with)
        arguments = {key: _argument(key, value, takes, images) for key, value in asked.items() if key in takes}
        with _numbers_from(self.seed, images.device) if is_kind(self._kind, _RANDOM) else warnings.catch_warnings():
            scores: Any = explainer.attribute(images.detach().clone().requires_grad_(True), **arguments)
        if not isinstance(scores, Tensor) or scores.ndim != 4 or len(scores) != len(images):
            got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise InputError(
                f"{self._kind.__name__} of Captum must give attributions [B, C, h, w], got {got}: name a layer whose "
                "output is a feature map"
            )
        return self.resize(self.reduce(scores.detach()), images)


def bound_to(explainer: Any, model: nn.Module | None) -> CaptumAttribution:
    """The method that an explainer of Captum is, if it explains the network that is to be certified.

    Args:
        explainer: Such as ``Saliency(model)``.
        model: The network; ``None`` if it is not known yet.

    Raises:
        InputError: If it is bound to another network, or was made with something that nobody can read from it.
    """
    name = type(explainer).__name__
    remedy = f"give the class, attribution={name}, or CaptumAttribution({name}, options=...)"
    if getattr(explainer, "forward_func", None) is not model or model is None:
        raise InputError(f"this {name} of Captum is bound to another network or function than the one given: {remedy}")
    layer, options = "input", {}
    for option, parameter in list(_parameters(type(explainer).__init__).items())[1:]:
        if option == "layer":
            layer = next((known for known, one in model.named_modules() if one is explainer.layer), "")
            if not layer:
                raise InputError(f"the layer of this {name} of Captum is no module of {type(model).__name__}: {remedy}")
            continue
        value = getattr(explainer, _KEPT_AS.get(option, option), inspect._empty)
        if value is inspect._empty or callable(value):
            raise InputError(f"{option} of this {name} of Captum cannot be recorded: {remedy}")
        if value != parameter.default:
            options[option] = value
    return CaptumAttribution(type(explainer), options, layer)


_KEPT_AS = {"multiply_by_inputs": "multiplies_by_inputs"}
"""Attributes that hold arguments of constructors under another name."""


def is_explainer(given: Any) -> bool:
    """Whether something is a class or an object of a method of Captum.

    Args:
        given: Anything.
    """
    kind = given if isinstance(given, type) else type(given)
    return any(base.__module__.startswith("captum.attr.") and base.__name__ == "Attribution" for base in kind.__mro__)


def needs_layer(explainer: type) -> bool:
    """Whether a class of Captum explains a layer.

    Args:
        explainer: The class.
    """
    return "layer" in inspect.signature(explainer).parameters


def is_kind(kind: type, names: tuple[str, ...]) -> bool:
    """Whether a class is one of Captum's classes with these names, or below one.

    Args:
        kind: The class.
        names: Names of classes of Captum.
    """
    return any(base.__module__.startswith("captum.attr.") and base.__name__ in names for base in kind.__mro__)


def _kind_of(explainer: Any) -> Any:
    with extra("captum", "CaptumAttribution"):
        import captum.attr  # on use: it imports pyplot

    known = {name: one for name in captum.attr.__all__ if is_explainer(one := getattr(captum.attr, name))}
    usable = {name: one for name, one in known.items() if _explains_images(one)}
    if isinstance(explainer, str):
        name = explainer.removeprefix("captum.attr.")
        if name not in known:
            raise InputError(f"captum.attr has no explainer {name!r}; {suggestion(name, usable)}")
        explainer = known[name]
    if not isinstance(explainer, type) or not is_explainer(explainer):
        raise InputError(
            f"explainer must be a class of captum.attr or its name, e.g. 'Saliency', got {explainer!r:.80}"
        )
    if is_kind(explainer, _OF_BATCHES):
        raise InputError(f"{explainer.__name__} of Captum mixes the images of a batch: use FeatureAblation")
    if not _explains_images(explainer):
        remedy = ": use SmoothGrad(CaptumAttribution(...), GaussianNoise(0.1))" * (explainer.__name__ == "NoiseTunnel")
        raise InputError(f"{explainer.__name__} of Captum explains no class by a map of an image{remedy}")
    return explainer


def _explains_images(kind: Any) -> bool:
    """Whether a class is made of a network, perhaps with a layer, and explains a class by a map."""
    if inspect.isabstract(kind) or not hasattr(kind, "attribute"):
        return False
    made = list(_parameters(kind.__init__).values())
    needed = [one.name for one in made[1:] if one.default is one.empty]
    first = made[0].name if made else ""
    return first in ("forward_func", "model") and set(needed) <= {"layer"} and "target" in _parameters(kind.attribute)


def _is_captums(kind: type) -> bool:
    with extra("captum", "CaptumAttribution"):
        import captum.attr

    return getattr(captum.attr, kind.__name__, None) is kind


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Named parameters of a method without ``self``."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {one.name: one for one in parameters if one.kind not in variable}


def _argument(name: str, value: Any, takes: Mapping[str, inspect.Parameter], images: Tensor) -> Any:
    """A setting as Captum takes it: baselines and masks as tensors, lists as tuples."""
    if name == "baselines" and isinstance(value, int | float) and takes[name].default is inspect._empty:
        return torch.full_like(images[:1], value).repeat(2, 1, 1, 1)  # a distribution of one image
    if name in ("baselines", "feature_mask") and isinstance(value, list | tuple | np.ndarray):
        tensor = torch.as_tensor(value, device=images.device)
        tensor = tensor.reshape((1,) * (4 - tensor.ndim) + tuple(tensor.shape))
        return tensor.to(images.dtype) if name == "baselines" else tensor
    return tuple(copied(value)) if isinstance(value, list) else value


@contextmanager
def _without_advice() -> Iterator[None]:
    """Without Captum's advice about hooks that it sets and removes itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(hooks|required_grads).*", category=UserWarning)
        yield


@contextmanager
def _numbers_from(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed inside the block; afterwards all generators are as before."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  (the generator that Captum uses)
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
