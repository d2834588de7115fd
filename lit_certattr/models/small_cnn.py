"""A small convolutional network for digits."""

from collections.abc import Sequence

from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.normalize import Normalize


class SmallCNN(nn.Module):
    """Three convolutions and one linear layer: small, because a certificate needs thousands of forward passes.

    The first two convolutions halve the resolution, so most of the work happens on a quarter or a sixteenth
    of the pixels. There is no batch normalisation and no dropout: training and evaluation are one function.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of logits.
        width: Channels after the first convolution; the next two have twice as many.
        image_size: Height and width of the images, at least 4 (28 for MNIST, 8 for scikit-learn's digits).
        mean: Channel means of the images in [0, 1], or one number for all channels.
        std: Channel standard deviations, positive, as many as means.

    Raises:
        InputError: If a number is out of range, or ``mean`` has neither 1 nor ``in_channels`` numbers.

    Example:
        >>> import torch
        >>> SmallCNN(image_size=8)(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        width: int = 32,
        image_size: int = 28,
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
    ) -> None:
        super().__init__()
        if min(in_channels, num_classes, width) < 1 or image_size < 4:
            raise InputError(
                "SmallCNN needs in_channels, num_classes and width >= 1 and image_size >= 4, "
                f"got {in_channels}, {num_classes}, {width}, {image_size}"
            )
        if len(mean) not in (1, in_channels):
            raise InputError(f"mean and std need 1 or {in_channels} numbers, got {len(mean)}")
        self.num_classes = num_classes
        self.input_size: tuple[int, int, int] | None = (in_channels, image_size, image_size)
        self.normalize = Normalize(mean, std)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, kernel_size=3, padding=1),
            nn.ReLU(),
        )
        size = -(-image_size // 4)  # two halvings, each rounded up
        self.classifier = nn.Linear(2 * width * size * size, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, in_channels, image_size, image_size]`` in [0, 1]."""
        return self.classifier(self.features(self.normalize(images)).flatten(1))  # type: ignore[no-any-return]
