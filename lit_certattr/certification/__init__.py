"""One pass of noise, every certificate from it; when it may stop, and who draws which samples."""

from lit_certattr.certification.certifier import Certifier
from lit_certattr.certification.noisy_majority import NOISY_MAJORITY
from lit_certattr.certification.stopping import (
    LOOK_SHARES,
    AllDecided,
    Futility,
    Look,
    OverlapStable,
    Seconds,
    StoppingRule,
)

__all__ = [
    "LOOK_SHARES",
    "NOISY_MAJORITY",
    "AllDecided",
    "Certifier",
    "Futility",
    "Look",
    "OverlapStable",
    "Seconds",
    "StoppingRule",
]
