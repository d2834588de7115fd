"""A method: the gradient, blurred, so that an explanation is about places and not about single pixels."""

import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution, input_gradient
from lit_certattr.errors import InputError


class BlurredGradient(Attribution):
    """Absolute gradient of the class, averaged over a square around each pixel.

    Args:
        width: Width of the square in pixels; odd.
        channels: How the channels of a pixel become one number, as for every method.

    Raises:
        InputError: If the width is not a positive odd number.
    """

    def __init__(self, width: int = 3, channels: str = "sum_abs") -> None:
        super().__init__(channels)
        if width < 1 or width % 2 == 0:
            raise InputError(f"width must be a positive odd number, got {width}")
        self.width = width

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        _, gradient = input_gradient(model, images, targets, create_graph)
        maps = self.reduce(gradient)
        return torch.nn.functional.avg_pool2d(maps[:, None], self.width, stride=1, padding=self.width // 2)[:, 0]
