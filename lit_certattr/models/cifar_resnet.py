"""The residual network for CIFAR-size images."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.normalize import Normalize


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters (option A of the paper)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = out_channels - in_channels
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(out + shortcut)  # type: ignore[no-any-return]


class CifarResNet(nn.Module):
    """Residual network of 6n + 2 layers for small images.

    Args:
        depth: Number of layers with weights: 20, 32, 44, 56, 110, ... (6n + 2).
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Channels of the first stage; the next two have twice and four times as many.
        mean: Channel means of the images in [0, 1], or one number for all channels. The default is for CIFAR-10.
        std: Channel standard deviations, positive, as many as means.

    Raises:
        InputError: If ``depth`` is not 6n + 2, or ``mean`` has neither 1 nor ``in_channels`` numbers.

    Reference: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2.

    Example:
        >>> import torch
        >>> CifarResNet(depth=8)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        depth: int = 20,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        mean: Sequence[float] = (0.4914, 0.4822, 0.4465),
        std: Sequence[float] = (0.2470, 0.2435, 0.2616),
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise InputError(f"depth of a CifarResNet must be 6n + 2 (8, 14, 20, 32, 56, 110, ...), got {depth}")
        if len(mean) not in (1, in_channels):
            raise InputError(f"mean and std need 1 or {in_channels} numbers, got {len(mean)}")
        self.num_classes = num_classes
        self.input_size: tuple[int, int, int] | None = None  # pooling takes any height and width
        self.normalize = Normalize(mean, std)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks = (depth - 2) // 6
        stages = []
        for stage in range(3):
            channels = width * 2**stage
            before, stride = (channels, 1) if stage == 0 else (channels // 2, 2)
            rest = [_Block(channels, channels, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(_Block(before, channels, stride), *rest))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, in_channels, H, W]`` in [0, 1]."""
        features = self.stages(self.stem(self.normalize(images)))
        return self.classifier(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]
