"""Networks that take images in [0, 1] and give logits, and the safe loading of their weights."""

from lit_certattr.models.normalize import Normalize
from lit_certattr.models.small_cnn import SmallCNN

__all__ = ["Normalize", "SmallCNN"]
