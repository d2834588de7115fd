"""One line from a network and images of any kind to certified maps, for a Python shell or a notebook."""

from lit_certattr.interactive.certified import CertifiedImage, CertifiedImages
from lit_certattr.interactive.one_line import certify

__all__ = ["CertifiedImage", "CertifiedImages", "certify"]
