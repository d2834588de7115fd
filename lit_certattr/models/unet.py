"""A small residual U-Net that removes noise from images."""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint import check_weights_key, load_weights
from lit_certattr.settings import whole_number

PACKAGED = {"photographs": {"channels": 3, "width": 28, "patch": 2}}
"""Weights that are part of this package, ``weights/NAME.safetensors``, with the settings that they are for."""


class _Block(nn.Module):
    """Two convolutions around a ReLU, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.second(functional.relu(self.first(features)))
        return out


class UNetDenoiser(nn.Module):
    r"""Estimates the clean image from a noisy one: image minus the noise that a small U-Net sees in it.

    The image enters as blocks of ``patch`` x ``patch`` pixels (each block becomes the channels of one position), so the
    convolutions work on a smaller grid; three levels of it, each half the size of the one before, see the
    surroundings. It is *blind*: the level of the noise is no input, so one network serves a whole range of ``sigma``.
    It has no normalisation layers, so what it makes of an image depends on that image alone. Images of any size are
    padded by repeating their border, and cut again.

    The denoised image is not clipped to [0, 1].

    Without weights the network changes nothing until it is trained (``train.py fit --config
    configs/train/denoiser.yaml``). The weights ``photographs`` were trained for noise of ``sigma`` from 0.05 to 0.5;
    docs/denoiser.md says on what, how well they work, and where they fail.

    Args:
        channels: Channels of the images: 3 for RGB, 1 for grayscale.
        width: Channels of the finest level; the next levels have two and four times as many.
        patch: Side of the blocks of pixels: 2 for photographs, 1 for images of a few dozen pixels.
        weights: ``photographs`` for the weights of this package (RGB, with the other arguments at their defaults), the
            path of a file of weights or of a checkpoint of ``train.py``, or ``None`` for an untrained network.
        weights_key: Which set of weights to load, if the file holds several.

    Raises:
        InputError: If a number is below 1, or the weights cannot be read or are for other settings.

    Example:
        >>> import torch
        >>> UNetDenoiser(channels=1, width=4)(torch.rand(2, 1, 13, 9)).shape
        torch.Size([2, 1, 13, 9])

    Reference: residual learning of the noise, Zhang et al., "Beyond a Gaussian Denoiser" (2017), eq. 1; U-Net,
    Ronneberger et al. (2015); blocks of pixels, Zhang et al., "FFDNet" (2018).
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 28,
        patch: int = 2,
        weights: str | None = None,
        weights_key: str | None = None,
    ) -> None:
        super().__init__()
        self.channels = whole_number("channels", channels, least=1)
        self.width = whole_number("width", width, least=1)
        self.patch = whole_number("patch", patch, least=1)
        file = _file_of(weights, weights_key, {"channels": channels, "width": width, "patch": patch})
        one, two, four = width, 2 * width, 4 * width
        self.enter = nn.Conv2d(channels * patch**2, one, 3, padding=1)
        self.fine = _Block(one)
        self.down = nn.Conv2d(one, two, 2, stride=2)
        self.middle = _Block(two)
        self.down_again = nn.Conv2d(two, four, 2, stride=2)
        self.coarse = _Block(four)
        self.up = nn.ConvTranspose2d(four, two, 2, stride=2)
        self.middle_up = _Block(two)
        self.up_again = nn.ConvTranspose2d(two, one, 2, stride=2)
        self.fine_up = _Block(one)
        self.leave = nn.Conv2d(one, channels * patch**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)  # an untrained network changes nothing
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)
        if file is not None:
            load_weights(self, file, weights_key)

    def forward(self, images: Tensor) -> Tensor:
        """Denoise images ``[B, C, H, W]``; the shape stays.

        Raises:
            InputError: If the images have another number of channels.
        """
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise InputError(
                f"this denoiser is for images [B, {self.channels}, H, W], got {list(images.shape)}: "
                f"make it with channels={images.shape[1] if images.ndim == 4 else 'the channels of your images'}"
            )
        height, width = images.shape[-2:]
        step = 4 * self.patch
        # Circular or zero padding would invent edges; repeating also works where the image is smaller than the padding.
        padded = functional.pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        fine = self.fine(self.enter(functional.pixel_unshuffle(padded, self.patch)))
        middle = self.middle(self.down(fine))
        coarse = self.coarse(self.down_again(middle))
        middle = self.middle_up(middle + self.up(coarse))
        fine = self.fine_up(fine + self.up_again(middle))
        noise: Tensor = functional.pixel_shuffle(self.leave(fine), self.patch)[..., :height, :width]
        return images - noise

    def extra_repr(self) -> str:
        """Show the settings when the network is printed."""
        return f"channels={self.channels}, width={self.width}, patch={self.patch}"


def _file_of(weights: str | None, weights_key: str | None, settings: dict[str, int]) -> str | Path | None:
    """The file of weights that the user names, or that is part of this package."""
    packaged = isinstance(weights, str) and weights in PACKAGED
    check_weights_key(None if packaged else weights, weights_key)
    if weights is None or not packaged:
        if isinstance(weights, str) and weights.isidentifier() and not Path(weights).exists():
            raise InputError(
                f"{weights!r} is neither a file nor the name of packaged weights: use {' or '.join(PACKAGED)}, or the "
                "path of a file of weights"
            )
        return weights
    if settings != PACKAGED[weights]:
        wanted, got = (
            ", ".join(f"{key}={value}" for key, value in one.items()) for one in (PACKAGED[weights], settings)
        )
        raise InputError(
            f"the packaged weights {weights!r} are for {wanted}, got {got}: leave these out, or train weights of your "
            "own (weights=None, lit-certattr train fit --config configs/train/denoiser.yaml)"
        )
    return Path(__file__).parent / "weights" / f"{weights}.safetensors"
