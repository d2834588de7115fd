"""Certificates: statistics of noisy maps, and the theorems that turn them into guarantees."""

from lit_certattr.certificates.base import Accumulator, Certificate
from lit_certattr.certificates.claim import Claim
from lit_certattr.certificates.claim_certificate import ClaimCertificate
from lit_certattr.certificates.claim_quantity import ClaimQuantity
from lit_certattr.certificates.claim_result import ClaimResult
from lit_certattr.certificates.claims_presentation import ClaimsPresentation
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.certificates.cosine import CosineCertificate
from lit_certattr.certificates.cosine_presentation import CosinePresentation
from lit_certattr.certificates.cosine_quantity import CosineQuantity
from lit_certattr.certificates.cosine_result import CosineResult
from lit_certattr.certificates.joint import joint_statement
from lit_certattr.certificates.overlap_bounds import displacement_radii
from lit_certattr.certificates.overlap_presentation import OverlapPresentation
from lit_certattr.certificates.overlap_quantity import OverlapQuantity
from lit_certattr.certificates.overlap_result import OverlapResult
from lit_certattr.certificates.percentile_certificate import PercentileCertificate
from lit_certattr.certificates.percentile_quantity import PercentileQuantity
from lit_certattr.certificates.percentile_result import PercentileResult
from lit_certattr.certificates.pixel import PixelCertificate
from lit_certattr.certificates.pixel_presentation import PixelPresentation
from lit_certattr.certificates.pixel_quantity import PixelQuantity
from lit_certattr.certificates.pixel_result import ABSTAIN, PixelResult
from lit_certattr.certificates.prediction import PredictionCertificate
from lit_certattr.certificates.prediction_presentation import PredictionPresentation
from lit_certattr.certificates.prediction_quantity import PredictionQuantity
from lit_certattr.certificates.prediction_result import PredictionResult
from lit_certattr.certificates.presentation import Presentation, present
from lit_certattr.certificates.quantity import Quantity, quantities_of
from lit_certattr.certificates.renyi import RenyiCertificate, RenyiResult
from lit_certattr.certificates.result import Result, UnknownResult, load_results, save_results
from lit_certattr.certificates.smoothgrad import SmoothGradCertificate
from lit_certattr.certificates.smoothgrad_result import SmoothGradResult
from lit_certattr.certificates.topk_overlap import TopKOverlapCertificate
from lit_certattr.certificates.topk_overlap_result import TopKOverlapResult
from lit_certattr.certificates.votes import VoteCertificate

__all__ = [
    "ABSTAIN",
    "Accumulator",
    "Certificate",
    "Claim",
    "ClaimCertificate",
    "ClaimQuantity",
    "ClaimResult",
    "ClaimsPresentation",
    "ClaimsResult",
    "CosineCertificate",
    "CosinePresentation",
    "CosineQuantity",
    "CosineResult",
    "OverlapPresentation",
    "OverlapQuantity",
    "OverlapResult",
    "PercentileCertificate",
    "PercentileQuantity",
    "PercentileResult",
    "PixelCertificate",
    "PixelPresentation",
    "PixelQuantity",
    "PixelResult",
    "PredictionCertificate",
    "PredictionPresentation",
    "PredictionQuantity",
    "PredictionResult",
    "Presentation",
    "Quantity",
    "RenyiCertificate",
    "RenyiResult",
    "Result",
    "SmoothGradCertificate",
    "SmoothGradResult",
    "TopKOverlapCertificate",
    "TopKOverlapResult",
    "UnknownResult",
    "VoteCertificate",
    "displacement_radii",
    "joint_statement",
    "load_results",
    "present",
    "quantities_of",
    "save_results",
]
