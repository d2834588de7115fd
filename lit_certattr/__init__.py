"""Train image classifiers with robust attributions, and certify those attributions."""

from lit_certattr.callbacks import CertificationCallback
from lit_certattr.certification import Certifier, certify
from lit_certattr.modules import RobustClassifier

__all__ = ["CertificationCallback", "Certifier", "RobustClassifier", "certify"]
__version__ = "0.1.0"
