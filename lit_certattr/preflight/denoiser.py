"""Whether a denoiser removes noise, which no theorem needs and every explanation does."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_certattr.devices import wide
from lit_certattr.models import Denoised
from lit_certattr.preflight.network import failures
from lit_certattr.smoothing import Noise, content_id

FEW_IMAGES = 4
"""Most images that the commands and the callback try a denoiser on."""
_COPIES = 2
_FEWEST_DB = 0.5
"""A denoiser is expected to bring noisy copies nearer to the image by at least this, in dB."""
_CLEAN_DB = 15.0
"""A denoised clean image is expected to have at least this PSNR, in dB: noise of sigma 0.18 leaves as much."""

_REMEDY = (
    "give it weights (UNetDenoiser(weights=...), for photographs weights='photographs'), train one on images of this "
    "kind (lit-certattr train fit --config configs/train/denoiser.yaml), or leave it out"
)


def denoiser_warning(
    model: nn.Module, images: Sequence[Tensor], noise: Noise, ids: Sequence[str] | None = None
) -> str | None:
    """A warning if the denoiser of a network removes no noise, or does not leave clean images as they are.

    A denoiser without weights changes nothing, and one with the weights of something else returns anything; both give
    valid certificates of maps that explain noise.

    Args:
        model: The network, in eval mode; the warning is about :class:`~lit_certattr.models.Denoised` only.
        images: A few clean images ``[C, H, W]``.
        noise: Noise law of the certificates; the noise that is drawn here is not theirs.
        ids: Ids of the images, by which a law may know their regions; ``None`` uses hashes of the pixels.

    Returns:
        The warning with its remedy; ``None`` if there is nothing to warn of.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> words = denoiser_warning(Denoised(nn.Identity(), nn.Flatten()), [torch.rand(3, 8, 8)], GaussianNoise(0.25))
        >>> words[:39]
        'Identity removes no noise of sigma = 0.'
    """
    if not isinstance(model, Denoised):
        return None
    generator = torch.Generator(images[0].device).manual_seed(0)
    clean, before, after = [], [], []
    with torch.no_grad():
        for image, image_id in zip(images, ids or map(content_id, images), strict=True):
            same = image[None]
            copies = same.expand(_COPIES, -1, -1, -1)
            noisy = noise.placed(image, image_id).draw(copies, generator)(copies)
            with failures(f"{type(model.denoiser).__name__} cannot denoise noisy copies", model, noisy):
                clean.append(model.denoise(same.clone()) - same)
                before.append(noisy - same)
                after.append(model.denoise(noisy) - same)
    name, law = type(model.denoiser).__name__, f"sigma = {noise.sigma:g}" if noise.sigma else type(noise).__name__
    kept, noisy_db, found = (_psnr(errors) for errors in (clean, before, after))
    if not math.isfinite(found):
        return (
            f"{name} returns NaN or infinity for images with noise of {law}, which may leave [0, 1]; "
            f"such samples never vote: {_REMEDY}"
        )
    if found < noisy_db + _FEWEST_DB:
        return (
            f"{name} removes no noise of {law}: denoised copies have {found:.1f} dB (PSNR), noisy "
            f"ones {noisy_db:.1f} dB. A denoiser without weights, or for other images or other noise, gives maps that "
            f"explain noise: {_REMEDY}"
        )
    if kept < _CLEAN_DB:
        return (
            f"{name} changes images without noise too much: denoised, they have {kept:.1f} dB (PSNR), so the maps "
            f"explain what it makes of an image: {_REMEDY}"
        )
    return None


def _psnr(errors: Sequence[Tensor]) -> float:
    """PSNR in dB over all pixels together, for images in [0, 1]."""
    total = sum(float(wide(error).square().sum()) for error in errors)
    mean = total / sum(error.numel() for error in errors)
    return math.inf if mean == 0 else -10 * math.log10(mean) if mean < math.inf else math.nan
