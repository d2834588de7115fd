"""Callbacks for the Lightning Trainer."""

from lit_certattr.callbacks.certification import CertificationCallback

__all__ = ["CertificationCallback"]
