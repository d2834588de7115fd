"""Train image classifiers with robust attributions, and certify those attributions."""

from lit_certattr.certifier import Certifier, certify

__all__ = ["Certifier", "certify"]
__version__ = "0.1.0"
