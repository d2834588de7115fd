"""Places in a network: a module by name, and the tensor beside it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.attribution.last_map import last_map
from lit_certattr.attribution.layouts import Surroundings, prefix_tokens
from lit_certattr.attribution.relu import ReluCalls
from lit_certattr.errors import InputError
from lit_certattr.models.final_layer import FinalLayer, final_layer, final_layers
from lit_certattr.models.names import suggestion


@attrs.frozen(eq=False)
class Place:
    """A module, and one of the tensors at it.

    Args:
        module: The module.
        around: Its name, and facts that help to interpret the tensor there.
        place: See :class:`~lit_certattr.models.FinalLayer`.
        final: Facts about it, if it is the final layer of a known family; else ``None``.
    """

    module: nn.Module
    around: Surroundings
    place: Literal["output", "input", "relu"] = "output"
    final: FinalLayer | None = None


def is_scripted(model: nn.Module) -> bool:
    """Whether a network, or a part of it, was made by ``torch.jit``: Python sees nothing of what it does.

    Args:
        model: The network.
    """
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


def find_place(model: nn.Module, layer: str, images: Tensor) -> Place:
    """The place that a layer's name refers to: ``"final"``, a module, or the end of one module's name.

    Args:
        model: The network.
        layer: The name.
        images: Images that it takes: the final layer of a network of no known family is found by running it.

    Raises:
        InputError: If there is none, or more than one.
    """
    names = dict(model.named_modules())
    if is_scripted(model):
        raise InputError(
            f"the layers of {type(model).__name__} cannot be reached, since it is scripted: use the network from "
            "before torch.jit, or layer='input'"
        )
    if layer == "final":
        final = final_layer(model) if final_layers(model) else last_map(model, images)
        name = next(name for name, module in names.items() if module is final.module)
        return Place(final.module, Surroundings(layer, model, name, prefix_tokens(model)), final.place, final)
    ends = [name for name in names if layer and f".{name}".endswith(f".{layer}")]
    # A name of the network as it was before a module was put around it means what it meant.
    ends = next(([name] for name in (layer, f"network.{layer}") if name in ends), ends)
    if len(ends) == 1:
        module = names[ends[0]]
        same = (final for final in final_layers(model) if final.module is module and final.place == "output")
        return Place(module, Surroundings(layer, model, ends[0], prefix_tokens(model)), final=next(same, None))
    if len(ends) > 1:
        raise InputError(f"layer {layer!r} is ambiguous in {type(model).__name__}: {', '.join(ends[:4])}, ...")
    known = ["input", "final", *filter(None, names), *(name.partition(".")[2] for name in names if "." in name)]
    raise InputError(f"{type(model).__name__} has no layer {layer!r}; {suggestion(layer, known)}")


@contextmanager
def tapped(place: Place, through: Callable[[Any], Tensor]) -> Iterator[None]:
    """Inside the block, the tensor at the place is replaced by a function of it.

    Args:
        place: The place in the network.
        through: Function from the tensor there to its replacement.
    """
    with ExitStack() as stack:
        if place.place == "input":
            hook = place.module.register_forward_pre_hook(lambda _, inputs: (through(inputs[0]), *inputs[1:]))
        elif place.place == "output":
            hook = place.module.register_forward_hook(lambda _, __, output: through(output))
        else:
            armed: list[bool] = []
            hook = place.module.register_forward_hook(lambda _, __, ___: armed.append(True))
            stack.enter_context(ReluCalls(lambda result: through(result) if armed and armed.pop() else result))
        stack.callback(hook.remove)
        yield
