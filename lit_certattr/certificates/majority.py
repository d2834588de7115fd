"""How results say that their class is the one that most noisy copies of the image are predicted as."""

from collections.abc import Mapping
from typing import Any

MOVED = (
    "the majority of the noisy predictions is another class than the prediction for the clean image; the map explains "
    "what the network sees under noise"
)
"""What is said of images for which that is so."""


def majority_in_words(sampling: Mapping[str, Any]) -> str | None:
    """How the explained class was chosen, if noisy copies chose it; ``None`` otherwise.

    Args:
        sampling: ``sampling`` of a result, see :class:`~lit_certattr.certificates.Result`.

    Example:
        >>> majority_in_words({"target": 3, "class_samples": 100, "class_votes": 83})
        'the majority of 100 noisy predictions, with 83 votes'
    """
    if "class_samples" not in sampling:
        return None
    return f"the majority of {sampling['class_samples']} noisy predictions, with {sampling.get('class_votes')} votes"
