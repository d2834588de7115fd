"""Which part of a LightningModule is the classifier, and whether it sees the images of the data loader."""

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.modules import RobustClassifier

_HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer")


def network_of(pl_module: LightningModule) -> nn.Module:
    """The function from images to logits that a LightningModule trains.

    Args:
        pl_module: The module.

    Returns:
        ``net`` of a :class:`~lit_certattr.modules.RobustClassifier`, whose ``forward`` is that network; of any other
        module, or of a subclass with a ``forward`` of its own, the module itself, because its ``forward`` may do more
        than a part that happens to be called ``net``: normalise, for example.
    """
    if isinstance(pl_module, RobustClassifier) and type(pl_module).forward is RobustClassifier.forward:
        return pl_module.net
    return pl_module


def refuse_hooks(trainer: Trainer, pl_module: LightningModule) -> None:
    """Refuse hooks that change batches between data loader and network: the certified images would be others.

    Args:
        trainer: The Trainer of the callback.
        pl_module: The module that is trained or validated.

    Raises:
        InputError: If the module or the data module overrides ``on_before_batch_transfer`` or
            ``on_after_batch_transfer``; the message names both.
    """
    datamodule = getattr(trainer, "datamodule", None)
    for owner, base in ((pl_module, LightningModule), (datamodule, LightningDataModule)):
        hook = next((hook for hook in _HOOKS if owner is not None and is_overridden(hook, owner, base)), None)
        if hook is not None:
            raise InputError(
                f"{type(owner).__name__} changes batches in {hook}, which certification does not call: change images "
                "in the data set, and make normalisation the network's first layer (lit_certattr.models.Normalized)"
            )
