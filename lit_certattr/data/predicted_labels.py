"""Images whose labels are what a network predicts for them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import SampleSet, collate
from lit_certattr.errors import InputError
from lit_certattr.models import load_network
from lit_certattr.models.modes import frozen


class PredictedLabels(ImageDataModule):
    """The images of a data set, with the classes that a network predicts for them as labels.

    For training without labels (self-distillation): a network that learns to predict, for noisy copies, what it
    predicted for the clean image before. Labels of the data set, if it has any, are not used. ``val/accuracy`` and
    ``test/accuracy`` of such a training are the share of images for which the trained network predicts what this one
    predicts.

    The predictions are made once, in ``setup``, in evaluation mode, and for images as they are, not augmented.

    Args:
        data: The data set; its batches, splits and augmentation stay.
        network: Gives the labels: from images in [0, 1] to logits. Its mode, flags and gradients stay unchanged. A
            string is the path of a checkpoint of ``train.py fit``.

    Raises:
        InputError: On ``setup``, if the network takes images of another size, or returns anything but finite logits.

    Example:
        >>> from lit_certattr.data import Digits
        >>> data = PredictedLabels(Digits(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
        >>> data.setup("fit")
        >>> data.num_classes
        10

    Reference: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015), with hard labels.
    """

    def __init__(self, data: ImageDataModule, network: nn.Module | str) -> None:
        super().__init__(data.batch_size, data.num_workers, data.max_images)
        self.data, self.network = data, load_network(network) if isinstance(network, str) else network
        self.image_shape, self.class_names = data.image_shape, []
        self.num_classes = int(getattr(self.network, "num_classes", 0))  # of other networks it is known after setup

    def prepare_data(self) -> None:
        """Let the data set download missing files."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Predict the labels of all images, once.

        Raises:
            InputError: If the network does not fit the images.
        """
        if self.train_set is not None or self.test_set is not None:
            return
        self.data.setup(stage)
        size, name = getattr(self.network, "input_size", None), type(self.network).__name__
        if size is not None and tuple(size) != tuple(self.image_shape):
            raise InputError(
                f"{type(self.data).__name__} has images of {tuple(self.image_shape)}, but {name}, which gives the "
                f"labels, takes {tuple(size)}: set size of the data to {size[-1]}"
            )
        self.train_set, self.val_set, self.test_set = (
            None if samples is None else self._relabelled(samples)
            for samples in (self.data.train_set, self.data.val_set, self.data.test_set)
        )

    def state_dict(self) -> dict[str, Any]:
        """The state of the data set, for training checkpoints."""
        return self.data.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the data set compare its state with that of the checkpoint.

        Args:
            state_dict: Result of :meth:`state_dict` in the checkpoint.
        """
        self.data.load_state_dict(state_dict)

    def _relabelled(self, samples: SampleSet) -> SampleSet:
        plain = samples.subset(range(len(samples)))  # without augmentation
        loader = DataLoader(plain, self.batch_size, num_workers=self.num_workers, collate_fn=collate)
        device = next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))
        found: list[int] = []
        with torch.inference_mode(False), torch.no_grad(), frozen(self.network):
            for batch in loader:
                found += self._logits(batch.image.to(device)).argmax(1).tolist()
        return samples.relabelled(found)

    def _logits(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        name = type(self.network).__name__
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"{name} must return logits [{len(images)}, num_classes] to give labels, got {got}")
        if not bool(torch.isfinite(logits).all()):
            raise InputError(f"{name} returns NaN or infinite logits, which give no labels: check its weights")
        self.num_classes = logits.shape[1]
        return logits
