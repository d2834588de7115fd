"""Images that must not change during a run."""

import hashlib
from collections.abc import Callable, Sequence

from torch import Tensor

from lit_certattr.data.sample import ImageError, Sample, SampleSet


class UnchangedSamples(SampleSet):
    """Samples that refuse an image that has changed since it was first read.

    A run records a hash of all images before it certifies the first. An image file that is replaced in between would be
    certified under the hash of another image.

    Args:
        samples: The samples.

    Raises:
        InputError: On access, if the pixels differ from those of the first access, in this process or before it was
            forked.

    Example:
        >>> import torch
        >>> pixels = torch.zeros(1, 1, 2, 2)
        >>> samples = UnchangedSamples(SampleSet(pixels, targets=[0], ids=["a"]))
        >>> _ = samples[0], pixels.add_(0.5)
        >>> samples[0]
        Traceback (most recent call last):
        ...
        lit_certattr.data.sample.ImageError: image a has changed since it was first read; leave the files alone ...
    """

    def __init__(self, samples: SampleSet) -> None:
        super().__init__(samples.images, samples.targets, samples.ids)
        self._samples, self._indices = samples, samples._indices
        self._digests: dict[str, bytes] = {}

    def subset(self, indices: Sequence[int], augment: Callable[[Tensor], Tensor] | None = None) -> "UnchangedSamples":
        """The samples at ``indices``, in that order; they share the record of images that were read."""
        chosen = UnchangedSamples(self._samples.subset(indices, augment))
        chosen._digests = self._digests
        return chosen

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        digest = hashlib.blake2b(sample.image.contiguous().numpy().tobytes(), digest_size=16).digest()
        if self._digests.setdefault(self.ids[index], digest) != digest:
            raise ImageError(
                f"image {sample.id} has changed since it was first read; leave the files alone while the command runs, "
                "and run it again with another --output"
            )
        return sample
