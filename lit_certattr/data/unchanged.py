"""Images that must not change during a run."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

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

    def digests(self) -> dict[str, bytes]:
        """Digests of the images that were read so far, by id."""
        return dict(self._digests)

    def expect(self, digests: Mapping[str, bytes]) -> None:
        """Refuse images that differ from those that another process has read.

        Args:
            digests: What :meth:`digests` gives there.

        Raises:
            InputError: If an image that was read here already differs.
        """
        for image_id, digest in digests.items():
            self._check(image_id, digest)

    def _check(self, image_id: str, digest: bytes) -> None:
        if self._digests.setdefault(image_id, digest) != digest:
            raise ImageError(
                f"image {image_id} has changed since it was first read; leave the files alone while the command runs, "
                "and run it again with another --output"
            )

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        digest = hashlib.blake2b(sample.image.contiguous().numpy().tobytes(), digest_size=16).digest()
        self._check(self.ids[index], digest)
        return sample
