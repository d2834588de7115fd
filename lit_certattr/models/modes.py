"""Networks in eval mode and with frozen parameters inside a ``with`` block."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lit_certattr.errors import InputError, single_line


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Eval mode inside the block; afterwards every module has its previous mode again.

    Args:
        model: The network.

    Raises:
        InputError: If the network has no eval mode.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
        >>> with eval_mode(net):
        ...     net.training
        False
        >>> net.training, net[1].training
        (True, False)
    """
    # Modules that were frozen by torch.jit are in eval mode for good, and have no such flag.
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    try:
        if modes:
            put_in_eval_mode(model)
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


def put_in_eval_mode(model: nn.Module) -> None:
    """Put a network in eval mode.

    Args:
        model: The network.

    Raises:
        InputError: If it has no eval mode; the message names the remedy.
    """
    try:
        model.eval()
    except Exception as error:
        raise InputError(
            f"{type(model).__name__} cannot be put in eval mode: {type(error).__name__}: {single_line(error)}; if it "
            "is exported, use the network from before torch.export; if eval() or train() is its own, drop that method"
        ) from error


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Eval mode and frozen parameters inside the block; afterwards all modes and flags are as before.

    Args:
        model: The network.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
        >>> with frozen(net):
        ...     net.training, net[0].weight.requires_grad
        (False, False)
        >>> net.training, net[1].training, net[0].weight.requires_grad
        (True, False, True)
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        with eval_mode(model):
            for parameter, _ in flags:  # model.requires_grad_ does not exist for scripted networks
                parameter.requires_grad_(False)
            yield model
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
