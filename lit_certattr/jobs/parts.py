"""The parts of a job, built from its arguments: network, images, certifier."""

import copy
from collections.abc import Sequence

from torch import nn

from lit_certattr.certification import Certifier
from lit_certattr.data import ImageDataModule, SampleSet
from lit_certattr.data.ids import known_id
from lit_certattr.errors import InputError
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.models import Denoised, load_network, load_weights, without_denoiser
from lit_certattr.models.checkpoint import as_path, check_weights_key
from lit_certattr.models.checkpoint_file import read_checkpoint
from lit_certattr.models.checkpoint_weights import mappings_of_tensors
from lit_certattr.models.modes import put_in_eval_mode
from lit_certattr.preflight import check_network
from lit_certattr.settings import whole_number


def open_network(network: nn.Module | None, checkpoint: str | None, weights_key: str | None = None) -> nn.Module:
    """The network in eval mode, with the weights of the checkpoint.

    Args:
        network: The network; ``None`` builds the network that the checkpoint names.
        checkpoint: File of the weights; ``None`` keeps the weights of the network. Of a denoised network, those of the
            classifier, unless the file holds the denoiser as well (the ``state_dict()`` of ``Denoised``).
        weights_key: Name of the weights in the checkpoint, if it contains several sets.

    Raises:
        InputError: If both network and checkpoint are missing, or the weights do not fit the network.
    """
    check_weights_key(checkpoint, weights_key)
    if network is None:
        if checkpoint is None:
            raise InputError("no network: give --checkpoint with a checkpoint of lit-certattr train, or --network")
        return load_network(checkpoint, weights_key)
    if checkpoint is not None:
        alone = isinstance(network, Denoised) and not _holds_both(checkpoint)
        load_weights(without_denoiser(network) if alone else network, checkpoint, weights_key)
    put_in_eval_mode(check_network(network))
    return network


def _holds_both(checkpoint: str) -> bool:
    """Whether a checkpoint holds a denoised network, with its denoiser."""
    names = (name for _, tensors in mappings_of_tensors(read_checkpoint(as_path(checkpoint))) for name in tensors)
    return {"denoiser", "network"} <= {part for name in names for part in name.split(".")}


def read_samples(data: ImageDataModule, ids: Sequence[str] | None, max_images: int | None = None) -> SampleSet:
    """The images of a data set for a job; the data set is not changed.

    Args:
        data: The data set; its test images are used.
        ids: Use only these images.
        max_images: Largest number of images; replaces ``max_images`` of the data set.

    Raises:
        InputError: If there are no images, or no image has one of the ids.
    """
    wanted = None if max_images is None else whole_number("max_images", max_images, least=1)
    if is_first_process():
        data.prepare_data()
    data.setup("predict")
    if wanted is not None:
        data = copy.copy(data)
        data.max_images = wanted
    return select_samples(data.predict_set, ids)


def select_samples(samples: SampleSet, ids: Sequence[str] | None, max_images: int | None = None) -> SampleSet:
    """The images with the given ids, or all images; at most the first ``max_images`` of them.

    Args:
        samples: All images.
        ids: Use only these images, in the order of ``samples``.
        max_images: Largest number of images.

    Raises:
        InputError: If there are no images, or no image has one of the ids.
    """
    if max_images is not None and max_images < 1:
        raise InputError(f"--max_images must be at least 1, got {max_images}")
    if isinstance(ids, str):
        raise InputError(f"ids must be a list, e.g. [{ids!r}], got {ids!r}")
    if ids is not None and not len(ids):
        raise InputError("ids is empty: name at least one image, or leave it out for all")
    if ids is not None:
        known = set(samples.ids)
        try:
            wanted = {image_id if image_id in known else known_id(image_id, samples.ids) for image_id in ids}
        except InputError as error:
            raise InputError(f"ids: {error}") from None
        samples = samples.subset([index for index, image_id in enumerate(samples.ids) if image_id in wanted])
    if not len(samples):
        raise InputError("the data contain no images")
    return samples if max_images is None else samples.subset(list(range(len(samples)))[:max_images])


def with_samples(certifier: Certifier, num_samples: int | None, seed: int | None) -> Certifier:
    """A copy of a certifier with another number of samples or another seed.

    Args:
        certifier: The certifier; it is not changed.
        num_samples: Noisy samples per image; ``None`` keeps the number.
        seed: Seed of the noise; ``None`` keeps the seed.

    Raises:
        InputError: If one is not a whole number, or the number of samples is below 1.
    """
    other = copy.copy(certifier)
    if num_samples is not None:
        other.num_samples = whole_number("--num_samples", num_samples, least=1)
    if seed is not None:
        other.seed = whole_number("--seed", seed)
    return other
