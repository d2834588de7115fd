"""What was found at one noise level, before one is chosen."""

from collections.abc import Mapping

import attrs


@attrs.frozen
class Trial:
    """Means over the images at one noise level.

    Attributes:
        network: ``"plain"`` or ``"denoised"``.
        sigma: Noise level.
        noisy_accuracy: Share of the noisy copies that are predicted as the explained class, in [0, 1].
        agreement: Share of the top K of the smoothed map that is in the top K of the plain network's map of the clean
            image, in [0, 1].
        certified: Metrics of the certificates by name, as the callback logs them.
    """

    network: str
    sigma: float
    noisy_accuracy: float
    agreement: float
    certified: Mapping[str, float]
