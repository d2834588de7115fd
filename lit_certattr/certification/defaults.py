"""The default certificates of one image, in one line."""

import logging
from typing import Literal

from torch import Tensor, nn

from lit_certattr.attribution import Gradient, frozen
from lit_certattr.certificates import PixelCertificate, Result, TopKOverlapCertificate
from lit_certattr.certificates.noisy_accuracy import warning
from lit_certattr.certification.certifier import Certifier
from lit_certattr.preflight import check_one_image, denoiser_warning
from lit_certattr.smoothing import GaussianNoise

log = logging.getLogger(__name__)


def certify(
    model: nn.Module,
    image: Tensor,
    target: int | Literal["noisy_majority"] | None = None,
    *,
    sigma: float = 0.25,
    num_samples: int = 1000,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[str, Result]:
    """Certify the gradient map of one image with the default certificates, in one line.

    It logs a warning if less than half of the noisy copies are predicted as the explained class
    (:attr:`Result.noisy_accuracy <lit_certattr.certificates.Result.noisy_accuracy>`), and if a denoiser in front of the
    network removes no noise.

    Args:
        model: Network from images in [0, 1] to logits.
        image: Image ``[C, H, W]`` in [0, 1].
        target: Class to explain; ``None`` takes the one that is predicted for the clean image, and
            ``"noisy_majority"`` the one that most of 100 other noisy copies are predicted as.
        sigma: Standard deviation of the Gaussian noise, in pixel units.
        num_samples: Noisy samples.
        batch_size: Samples evaluated at once.
        seed: Seed of the noise.

    Returns:
        ``{"pixel": PixelResult, "topk_overlap": TopKOverlapResult}``.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> sorted(certify(net, torch.rand(1, 4, 4), num_samples=100))
        ['pixel', 'topk_overlap']
    """
    certifier = Certifier(
        attribution=Gradient(),
        noise=GaussianNoise(sigma),
        certificates=[PixelCertificate(), TopKOverlapCertificate()],
        num_samples=num_samples,
        batch_size=batch_size,
        seed=seed,
    )
    (results,) = certifier(
        model, check_one_image(image), target if target is None or isinstance(target, str) else [target]
    )
    with frozen(model):
        lines = denoiser_warning(model, [image], certifier.noise), warning([results["pixel"].noisy_accuracy])
    for line in lines:
        if line is not None:
            log.warning(line)
    return results
