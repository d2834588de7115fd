"""The networks that the comparisons are about: one that comes trained, and small ones trained here in seconds."""

import torch
from torch import nn

from lit_certattr.data import Digits, ImageDataModule, MNIST5k, Photographs
from lit_certattr.models import EfficientNetLite0, SmallCNN
from lit_certattr.objectives import NoiseAugmentation
from lit_certattr.smoothing import GaussianNoise

SIGMA = 0.25


def network_and_data(name: str) -> tuple[nn.Module, ImageDataModule, int]:
    """Network, images and batch size of a comparison; the small ones are trained here, with noise.

    Args:
        name: ``"photographs"``, ``"mnist5k"`` or ``"digits"``.
    """
    if name == "photographs":
        return EfficientNetLite0().eval(), Photographs(), 16
    torch.manual_seed(0)
    data: ImageDataModule
    if name == "mnist5k":
        data, network, epochs = MNIST5k(batch_size=64), SmallCNN(image_size=28, num_classes=10), 4
    else:
        data, network, epochs = Digits(batch_size=64), SmallCNN(image_size=8, width=16, mean=(0.3,), std=(0.38,)), 20
    data.setup("fit")
    objective, optimizer = (
        NoiseAugmentation(GaussianNoise(SIGMA), draws=1),
        torch.optim.Adam(network.parameters(), 1e-3),
    )
    for _ in range(epochs):
        for batch in data.train_dataloader():
            optimizer.zero_grad()
            objective(network, batch.image, torch.as_tensor(batch.target))[0].backward()
            optimizer.step()
    return network.eval(), data, 128 if name == "mnist5k" else 256
