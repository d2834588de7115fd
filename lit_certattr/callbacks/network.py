"""Which part of a LightningModule is the classifier."""

from lightning import LightningModule
from torch import nn

from lit_certattr.modules import RobustClassifier


def network_of(pl_module: LightningModule) -> nn.Module:
    """The function from images to logits that a LightningModule trains.

    Args:
        pl_module: The module.

    Returns:
        ``net`` of a :class:`~lit_certattr.modules.RobustClassifier`, whose ``forward`` is that network; of any other
        module the module itself, because its ``forward`` may do more than a part that happens to be called ``net``:
        normalise, for example.
    """
    return pl_module.net if isinstance(pl_module, RobustClassifier) else pl_module
