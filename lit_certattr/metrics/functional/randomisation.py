"""The parameter-randomisation sanity check: a map that explains a network must change when the network does."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution, frozen
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.correlation import spearman
from lit_certattr.metrics.functional.deletion import check_classes
from lit_certattr.metrics.functional.lens import top_k_intersection
from lit_certattr.models.names import suggestion
from lit_certattr.smoothing import top_k_size
from lit_certattr.smoothing.normals import image_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@attrs.frozen(eq=False)
class RandomisationResult:
    """Similarity of the maps to those of the original network, while its layers are randomised one after the other.

    Attributes:
        layers: Names of the L layers, in the order in which they were randomised.
        spearman: Rank correlation over the pixels, float32 ``[L + 1, B]``; row 0 is the original network. All three are
            NaN where a map is constant.
        spearman_absolute: The same of the absolute values, which a change of sign leaves alone.
        top_k_intersection: Shared pixels of the top K as a share of K.
        chance: Expected top-K intersection of random maps, K / N; for the correlations it is 0.
    """

    layers: tuple[str, ...]
    spearman: Tensor
    spearman_absolute: Tensor
    top_k_intersection: Tensor
    chance: float

    def plot(self) -> "Figure":
        """The three similarities against the layers: means over images, and the middle half of the images."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(max(5.0, 0.22 * len(self.layers)), 3.6), layout="constrained")
        axes = figure.add_subplot()
        places = range(len(self.layers) + 1)
        for name, label in (
            ("spearman", "Spearman"),
            ("spearman_absolute", "Spearman, absolute values"),
            ("top_k_intersection", "top-K intersection"),
        ):
            values = getattr(self, name)
            (line,) = axes.plot(places, values.nanmean(1).numpy(), marker=".", label=label)
            low, high = (values.nanquantile(q, dim=1).numpy() for q in (0.25, 0.75))
            axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.axhline(self.chance, color="#888888", linewidth=0.8, linestyle="--", label="top-K intersection by chance")
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set_xticks(list(places), ["original", *self.layers], rotation=90, fontsize=6)
        axes.set(xlabel="randomised down to", ylabel="similarity to the original map", ylim=(-0.3, 1.05))
        axes.legend(fontsize="x-small", frameon=False)
        return figure


def parameter_randomisation(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    attribution: Attribution,
    *,
    layers: Sequence[str] | None = None,
    top_k: float = 0.1,
    max_batch: int = 64,
    seed: int = 0,
) -> RandomisationResult:
    """Randomise the network from the logits down, layer by layer, and compare the maps with the original ones.

    A method whose maps stay what they were does not depend on what the network has learned. The check refutes, it never
    confirms: a map may change completely and still be wrong. What remains similar at the end is due to the image alone
    (edges, mostly), to its product with the image, or to the architecture.

    Layers are re-initialised by their own ``reset_parameters``; parameters of modules without it become normal, of
    the same root mean square. All of it happens in a copy; the model, its gradients and torch's generators stay as
    they are.

    Args:
        model: Network from images in [0, 1] to logits.
        images: Images ``[B, C, H, W]``.
        targets: Explained classes ``[B]``, the same for all networks.
        attribution: The method; signed maps are compared with their signs.
        layers: Names of modules in the order in which to randomise them, each with all that is in it; ``None`` takes
            every module that has parameters of its own, in the reverse order of execution (what a module owns
            itself counts as executed before the modules in it).
        top_k: K as a share of the pixels in (0, 1), or their number.
        max_batch: Most images explained at once.
        seed: Seed of the new parameters; those of a layer depend on the seed and its name alone.

    Returns:
        The similarities; :meth:`RandomisationResult.plot` draws them.

    Raises:
        InputError: If the network has no parameters or no layer of that name, or ``top_k`` is out of range.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> found = parameter_randomisation(net, torch.rand(4, 1, 4, 4), torch.zeros(4).long(), Gradient())
        >>> found.layers, found.spearman.shape
        (('3', '1'), torch.Size([3, 4]))

    Reference: Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018 (cascading randomisation).
    """
    if max_batch < 1:
        raise InputError(f"max_batch must be at least 1, got {max_batch}")
    with torch.inference_mode(False), torch.no_grad():
        images, targets = images.clone(), targets.to(images.device, copy=True)  # usable outside of inference_mode
        network = copy.deepcopy(model)
        with frozen(network):
            check_classes(network, images, targets)
            order = execution_order(network, images[:1])[::-1] if layers is None else _known(network, layers)
            original = explain(attribution, network, images, targets, max_batch)
            size = top_k_size(top_k, original[0].numel())
            rows = [_similarity(original, original, size)]
            for name in order:
                key = image_key(seed, f"{name}\x00randomisation") >> 65  # 63 bits: what a generator takes
                reinitialise(network.get_submodule(name), key, with_children=layers is not None)
                maps = explain(attribution, network, images, targets, max_batch)
                rows.append(_similarity(original, maps, size))
    signed, absolute, shared = (torch.stack(values) for values in zip(*rows, strict=True))
    return RandomisationResult(tuple(order), signed, absolute, shared, size / original[0].numel())


def execution_order(model: nn.Module, images: Tensor) -> list[str]:
    """Names of the modules with parameters of their own, in the order in which the network begins to execute them.

    A module that is never called itself (as within PyTorch's attention) takes the place of the one that holds it.

    Args:
        model: The network; hooks are put on it for one pass.
        images: Images ``[B, C, H, W]`` for that pass.

    Raises:
        InputError: If the network has no parameters.
    """
    begun: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: object) -> None:
        begun[module] = len(begun) if module not in begun else begun[module]

    handles = [module.register_forward_pre_hook(note) for module in model.modules()]
    try:
        model(images.clone())
    finally:
        for handle in handles:
            handle.remove()

    def place(name: str) -> int:
        while model.get_submodule(name) not in begun:
            name = name.rpartition(".")[0]
        return begun[model.get_submodule(name)]

    names = [name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None]
    if not names:
        raise InputError(f"{type(model).__name__} has no parameters to randomise")
    return sorted(names, key=place)


def reinitialise(module: nn.Module, seed: int, with_children: bool) -> None:
    """Give a module new random parameters, in place; the same for a seed on every device.

    Args:
        module: The module.
        seed: Seed of its parameters, 63 bits.
        with_children: Also all modules in it.
    """
    fresh = copy.deepcopy(module).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for part in fresh.modules() if with_children else [fresh]:
            reset: Any = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in part.parameters(recurse=False):
                scale = parameter.square().mean().sqrt()
                parameter.normal_().mul_(scale)
    module.load_state_dict(fresh.state_dict())


def _known(model: nn.Module, layers: Sequence[str]) -> list[str]:
    names = dict(model.named_modules())
    for name in layers:
        if name not in names:
            raise InputError(f"layer {name!r} is unknown: {suggestion(name, names)}")
    if not layers:
        raise InputError("layers must name at least one layer")
    return list(layers)


def explain(attribution: Attribution, model: nn.Module, images: Tensor, targets: Tensor, max_batch: int) -> Tensor:
    """Maps ``[B, H, W]`` of images, a few of them at a time.

    Args:
        attribution: The method.
        model: The network, frozen.
        images: Images ``[B, C, H, W]``.
        targets: Explained classes ``[B]``.
        max_batch: Most images explained at once.
    """
    parts = zip(images.split(max_batch), targets.split(max_batch), strict=True)
    return torch.cat([attribution(model, group, labels) for group, labels in parts])


def _similarity(original: Tensor, maps: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    constant = maps.flatten(1).amax(1) == maps.flatten(1).amin(1)
    shared = top_k_intersection(original, maps, size).masked_fill(constant, torch.nan)
    return spearman(original, maps).cpu(), spearman(original.abs(), maps.abs()).cpu(), shared.cpu()
