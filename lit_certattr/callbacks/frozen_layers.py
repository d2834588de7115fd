"""Layers of a pretrained network that a training leaves as they are."""

from collections.abc import Sequence

from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.modules.training import TrainingModule


class FrozenLayers(Callback):
    """Keeps layers of the trained network fixed: their weights, and the statistics of their batch normalisation.

    For fine-tuning a pretrained network on few images: the fewer weights are trained, the less is forgotten, and no
    gradient is computed below the first layer that is trained. Frozen layers are in evaluation mode during training,
    so dropout does not act in them.

    Args:
        layers: Names of modules of the network, as in ``network.named_modules()``; everything inside is frozen, too.
        keep_statistics: Whether the batch normalisations of all other layers also use and keep the statistics that they
            have; their scale and shift are trained. Statistics that follow slowly (the momentum of EfficientNet is
            0.01) do not fit weights that a short training changes, and those of clean and of noisy batches together fit
            neither.

    Raises:
        InputError: If no layer is named; when training starts, if the network has no such layer or nothing remains to
            be trained.

    Example:
        >>> callback = FrozenLayers(["network.conv_stem", "network.bn1", "network.blocks.0"])
    """

    def __init__(self, layers: Sequence[str], keep_statistics: bool = False) -> None:
        if isinstance(layers, str) or not layers:
            raise InputError(f"layers must be a list of names of layers, got {layers!r}: [network.conv_stem]")
        self.layers = tuple(layers)
        self.keep_statistics = keep_statistics

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze the weights, before the optimizer is made."""
        if stage != "fit":
            return
        network = self._network(pl_module)
        for layer in self._of(network):
            layer.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise InputError(f"FrozenLayers leaves nothing to train in {type(network).__name__}: name fewer layers")

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the layers in evaluation mode; not earlier, because Lightning warns of such layers before."""
        for layer in self._in_evaluation_mode(self._network(pl_module)):
            layer.eval()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the layers in the mode of the others."""
        network = self._network(pl_module)
        for layer in self._in_evaluation_mode(network):
            layer.train(network.training)

    @staticmethod
    def _network(module: LightningModule) -> nn.Module:
        return module.trained if isinstance(module, TrainingModule) else module

    def _in_evaluation_mode(self, network: nn.Module) -> list[nn.Module]:
        normalisations = [one for one in network.modules() if isinstance(one, _BatchNorm)]
        return self._of(network) + (normalisations if self.keep_statistics else [])

    def _of(self, network: nn.Module) -> list[nn.Module]:
        known = dict(network.named_modules())
        unknown = [name for name in self.layers if not name or name not in known]
        if unknown:
            names = ", ".join(name for name in known if name and name.count(".") <= 1)
            raise InputError(
                f"{type(network).__name__} has no layer {unknown[0]!r} to freeze; its layers are {names}, and those "
                "inside them"
            )
        return [known[name] for name in self.layers]
