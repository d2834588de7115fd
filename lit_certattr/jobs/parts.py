"""The parts of a job as its arguments name them: the network, the images, the certifier."""

import copy
from collections.abc import Sequence

from torch import nn

from lit_certattr.certification import Certifier
from lit_certattr.data import ImageDataModule, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.models import load_network, load_weights
from lit_certattr.models.checkpoint import check_weights_key
from lit_certattr.settings import whole_number


def open_network(network: nn.Module | None, checkpoint: str | None, weights_key: str | None = None) -> nn.Module:
    """The network in eval mode, with the weights of the checkpoint.

    Args:
        network: The network; ``None`` builds the one that the checkpoint names.
        checkpoint: File of weights; ``None`` leaves those that the network has.
        weights_key: Which weights of the checkpoint, where it holds several sets.

    Raises:
        InputError: If there is neither, or the weights do not fit the network.
    """
    check_weights_key(checkpoint, weights_key)
    if network is None:
        if checkpoint is None:
            raise InputError("nothing to certify: give --checkpoint of train.py, or --network")
        return load_network(checkpoint, weights_key)
    if checkpoint is not None:
        load_weights(network, checkpoint, weights_key)
    return network.eval()


def read_samples(data: ImageDataModule, ids: Sequence[str] | None, max_images: int | None = None) -> SampleSet:
    """The images of a data set that a job works on; the data set itself stays as it is.

    Args:
        data: The data set; its test images are used.
        ids: Take these images only.
        max_images: In place of the data set's own ``max_images``.

    Raises:
        InputError: If there are no images, or none of one of the ids.
    """
    if max_images is not None:
        data = copy.copy(data)
        data.max_images = whole_number("max_images", max_images, least=1)
    if is_first_process():
        data.prepare_data()
    data.setup("predict")
    return select_samples(data.predict_set, ids)


def select_samples(samples: SampleSet, ids: Sequence[str] | None, max_images: int | None = None) -> SampleSet:
    """The images of ``ids``, or all; and no more than the first ``max_images`` of them.

    Args:
        samples: All images.
        ids: Take these images only, in the order of ``samples``.
        max_images: How many at most.

    Raises:
        InputError: If there is no image, or no image of one of the ids.
    """
    if max_images is not None and max_images < 1:
        raise InputError(f"--max_images must be at least 1, got {max_images}")
    if ids is not None:
        unknown = next((image_id for image_id in ids if image_id not in samples.ids), None)
        if unknown is not None:
            raise InputError(f"ids: the data has no image {unknown!r}; the first are {', '.join(samples.ids[:3])}")
        samples = samples.subset([index for index, image_id in enumerate(samples.ids) if image_id in set(ids)])
    if not len(samples):
        raise InputError("the data has no images to certify")
    return samples if max_images is None else samples.subset(list(range(len(samples)))[:max_images])


def with_samples(certifier: Certifier, num_samples: int | None, seed: int | None) -> Certifier:
    """A certifier that draws another number of samples, or from another seed; the one that is given stays as it is.

    Args:
        certifier: The certifier.
        num_samples: Noisy samples per image; ``None`` leaves the number.
        seed: Seed of the noise; ``None`` leaves it.

    Raises:
        InputError: If one is no whole number, or the number of samples is below 1.
    """
    other = copy.copy(certifier)
    if num_samples is not None:
        other.num_samples = whole_number("--num_samples", num_samples, least=1)
    if seed is not None:
        other.seed = whole_number("--seed", seed)
    return other
