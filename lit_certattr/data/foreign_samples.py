"""Samples of data sets from outside the package: checked, and converted to images, labels and ids."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_certattr.data.ids import safe_id
from lit_certattr.data.sample import NO_LABEL, ImageError, Sample

Fields = Sequence[str] | None
"""Names of image, label and id in samples that are mappings; ``None`` for samples that are tuples."""

_NORMALISED = (
    "a budget or a radius is a length in pixel units: leave Normalize out of the transforms, and make it the network's "
    "first layer (lit_certattr.models.Normalized, or Normalize in a network of your own)"
)
_TO_TENSOR = "add torchvision.transforms.v2.ToImage() and ToDtype(torch.float32, scale=True) to its transforms"


def split_sample(sample: Any, fields: Fields, name: str) -> tuple[Any, Any, Any]:
    """Image, label and id of a sample or of a batch; ``None`` for what it lacks.

    Args:
        sample: An image, a tuple ``(image, label[, id])``, or a mapping.
        fields: Names of image, label and id in a mapping, as far as it has them.
        name: Name of the sample in messages.

    Raises:
        ImageError: If it is something else, or lacks a field.

    Example:
        >>> split_sample({"pixels": 0.5, "y": 3}, ["pixels", "y"], "sample 0")
        (0.5, 3, None)
    """
    if isinstance(sample, Mapping):
        keys = ", ".join(map(str, sample))
        if fields is None:
            raise ImageError(
                f"{name} is a mapping with {keys}, not a tuple (image, label): name what it holds, e.g. "
                "--data=FromLightning --data.init_args.data=... --data.init_args.fields=[image,label]"
            )
        missing = next((field for field in fields if field not in sample), None)
        if missing is not None:
            raise ImageError(f"{name} has no {missing!r}, it has {keys}: correct fields")
        found = [sample[field] for field in fields]
    elif isinstance(sample, tuple | list):
        found = list(sample)
    else:
        found = [sample]
    if not 1 <= len(found) <= 3:
        raise ImageError(f"{name} has {len(found)} parts: it must be (image, label) or (image, label, id)")
    return found[0], found[1] if len(found) > 1 else None, found[2] if len(found) > 2 else None


def check_pixels(images: Any, ndim: int, name: str) -> Tensor:
    """An image or a batch as float32 in [0, 1].

    Args:
        images: What a data set gives.
        ndim: 3 for one image ``[C, H, W]``, 4 for a batch.
        name: Name of the image or the batch in messages.

    Raises:
        ImageError: If it is no float tensor of this form, or a pixel is not finite or outside [0, 1].
    """
    if not isinstance(images, Tensor):
        kind = f"a {type(images).__name__}"
        if type(images).__module__.partition(".")[0] == "PIL":
            raise ImageError(f"{name} is a PIL image: {_TO_TENSOR}")
        if isinstance(images, np.ndarray):
            kind = f"a NumPy array of {images.dtype} {images.shape}"
        raise ImageError(f"{name} is {kind}, not a float tensor [C, H, W] in [0, 1]")
    if not images.is_floating_point():
        raise ImageError(f"{name} holds {images.dtype}, not floats in [0, 1]: {_TO_TENSOR}, or divide by 255")
    shape = tuple(images.shape)
    if images.ndim != ndim or 0 in shape:
        wanted = "[C, H, W]" if ndim == 3 else "[B, C, H, W]"
        remedy = ": add the channel, image[None]" if images.ndim == ndim - 1 else ""
        raise ImageError(f"{name} has shape {shape}, not {wanted}{remedy}")
    if shape[-1] <= 4 < min(shape[-2], shape[-3]):
        raise ImageError(f"{name} has shape {shape}: channels must come first, image.permute(2, 0, 1)")
    low, high = (float(value) for value in torch.aminmax(images))
    if not low - low == high - high == 0:  # NaN or infinite
        raise ImageError(f"{name} holds NaN or infinite pixels")
    if low < 0:
        raise ImageError(f"{name} has pixels from {low:.3g} to {high:.3g}, not in [0, 1]; {_NORMALISED}")
    if high > 1:
        raise ImageError(
            f"{name} has pixels up to {high:.3g}, not in [0, 1]: divide by the largest possible value, e.g. 255; if "
            f"they are normalised, {_NORMALISED}"
        )
    return images.detach().float()


def class_of(label: Any, name: str) -> int:
    """A label as a class index.

    Args:
        label: A whole number, a one-hot vector, or ``None`` for an image without a label.
        name: Name of the image in messages.

    Raises:
        ImageError: If it is something else.

    Example:
        >>> class_of(torch.tensor([0.0, 1.0, 0.0]), "image 0"), class_of(None, "image 1")
        (1, -1)
    """
    if label is None:
        return NO_LABEL
    try:
        values = torch.as_tensor(label)
    except (TypeError, ValueError, RuntimeError):
        raise ImageError(f"the label of {name} is {label!r:.60}, not a class index") from None
    if values.ndim == 0 and not (values.is_floating_point() or values.is_complex()) and int(values) >= NO_LABEL:
        return int(values)
    if values.ndim == 1 and len(values) > 1:
        if bool(((values == 0) | (values == 1)).all()) and int((values == 1).sum()) == 1:
            return int(values.int().argmax())
        raise ImageError(
            f"the label of {name} is the vector {values.tolist()!r:.60}, which is not one-hot: give a class index "
            "(explanations and accuracy are about one class)"
        )
    raise ImageError(f"the label of {name} is {label!r:.60}, not a class index from 0, or -1 without a label")


class ForeignSamples(Dataset[Sample]):
    """A data set from outside the package, read by index and in its own order.

    Args:
        dataset: Has a length and items ``(image, label[, id])``: images float ``[C, H, W]`` in [0, 1], all of one
            shape; labels class indices, one-hot vectors or ``None``.
        split: Name of the split; without ids of its own, sample 7 of ``test`` gets the id ``test-00007``.
        fields: See :func:`split_sample`.
        collate: Function of the user's loader that makes a batch of a list of samples, or ``None``; it is applied to
            one sample at a time.
        indices: Indices of the samples in use; ``None`` for all.

    Raises:
        ImageError: On access, if a sample is of another kind; the message names the remedy.

    Example:
        >>> samples = ForeignSamples([(torch.rand(1, 4, 4), 3)], "test")
        >>> samples[0].id, samples[0].target
        ('test-00000', 3)
    """

    def __init__(
        self,
        dataset: Any,
        split: str,
        fields: Fields = None,
        collate: Callable[[list[Any]], Any] | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        self.dataset, self.split, self.fields, self.collate = dataset, split, fields, collate
        self.indices = range(len(dataset)) if indices is None else list(indices)
        self._shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        place = self.indices[index]
        name = f"{self.split} image {place}"
        image, label, image_id = self._parts(self.dataset[place], name)
        image = check_pixels(image, 3, name)
        if self._shape is None:
            self._shape = tuple(image.shape)
        if tuple(image.shape) != self._shape:
            raise ImageError(
                f"{name} has shape {tuple(image.shape)}, but another one has {self._shape}: give all images one size, "
                "e.g. with Resize and CenterCrop in the transforms of the data set"
            )
        given = image_id.item() if isinstance(image_id, Tensor) and image_id.numel() == 1 else image_id
        name_of = f"{self.split}-{place:05d}" if given is None else safe_id(str(given))
        return Sample(image, class_of(label, name), name_of)

    def _parts(self, sample: Any, name: str) -> tuple[Any, Any, Any]:
        if self.collate is None:
            return split_sample(sample, self.fields, name)
        image, label, image_id = split_sample(self.collate([sample]), self.fields, name)
        return tuple(None if part is None else part[0] for part in (image, label, image_id))  # type: ignore[return-value]


class BatchesAsSamples:
    """Converts the batches of a user's training loader to :class:`~lit_certattr.data.Sample`, without ids.

    It is given to the loader in place of its own function, which it calls.

    Args:
        collate: Function of the loader that makes a batch of a list of samples.
        fields: See :func:`split_sample`.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], fields: Fields = None) -> None:
        self.collate, self.fields = collate, fields

    def __call__(self, samples: list[Any]) -> Sample:
        """The batch of some samples.

        Args:
            samples: What the data set gives.

        Raises:
            ImageError: If they cannot be one batch, or are of another kind.
        """
        try:
            batch = self.collate(samples)
        except (RuntimeError, TypeError) as error:
            said = " ".join(str(error).split())[:200]
            raise ImageError(
                f"training images cannot be put into one batch ({said}): give all images one size and the type float "
                f"in [0, 1]; {_TO_TENSOR}"
            ) from None
        images, labels, _ = split_sample(batch, self.fields, "a training batch")
        images = check_pixels(images, 4, "a training batch")
        one_each = [None] * len(images) if labels is None else list(labels)
        targets = [class_of(label, "a training image") for label in one_each]
        return Sample(images, torch.tensor(targets), [])
