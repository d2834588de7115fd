"""Whether ``torch.compile`` stands between a network and its layers."""

import sys

from torch import nn

from lit_certattr.models.compiled_network import CompiledNetwork


def is_compiled(network: nn.Module) -> bool:
    """Whether a module is compiled as a whole: by ``torch.compile(network)``, ``network.compile()`` or the certifier.

    The compiler takes a second to import, and nothing is compiled before it was imported: it is not imported here.

    Args:
        network: Any module.

    Example:
        >>> is_compiled(nn.Linear(2, 2))
        False
    """
    if isinstance(network, CompiledNetwork):
        return True
    compiler = sys.modules.get("torch._dynamo")
    if compiler is not None and isinstance(network, compiler.OptimizedModule):
        return True
    return network._compiled_call_impl is not None
