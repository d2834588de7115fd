"""Facts about a run that are recorded, or that must be equal on all processes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_certattr.certificates import Certificate
from lit_certattr.models import network_hash, structure_hash
from lit_certattr.smoothing import content_id


def precision(model: nn.Module, image: Tensor) -> str:
    """The precision of the network, e.g. ``float32``; it is recorded, since another precision makes another explainer.

    Args:
        model: The network.
        image: An image on the device of the network.

    Example:
        >>> precision(nn.Linear(2, 2).double(), torch.zeros(2))
        'float64'
    """
    weights = next((p.dtype for p in model.parameters() if p.is_floating_point()), image.dtype)
    name = str(weights).removeprefix("torch.")
    if torch.is_autocast_enabled(image.device.type):
        name += f", autocast {str(torch.get_autocast_dtype(image.device.type)).removeprefix('torch.')}"
    return name


def facts_to_share(
    certificates: Mapping[str, Certificate],
    model: nn.Module,
    images: Tensor,
    labels: Sequence[int],
    ids: Sequence[str],
    generator: str,
) -> dict[str, Any]:
    """What must be equal on processes whose samples are added, besides the settings, in the order of comparison.

    Args:
        certificates: The certificates by name.
        model: The network that the caller gave.
        images: Images ``[B, C, H, W]``.
        labels: Class to explain for each image.
        ids: Ids of the images.
        generator: Name of the generator of the noise.
    """
    facts: dict[str, Any] = {}
    for name, certificate in certificates.items():
        held = {"kind": type(certificate).__name__} | certificate.settings()
        facts |= {f"{key} of {name}": value for key, value in held.items()}
    facts |= {
        "generator": generator,
        "precision": precision(model, images[0]),
        "device": images.device.type,
        "structure of the network": f"{type(model).__name__} {structure_hash(model)[:16]}",
        "weights of the network": network_hash(model),
    }
    for index, (image, label, image_id) in enumerate(zip(images, labels, ids, strict=True)):
        suffix = "" if len(images) == 1 else f" {index}"
        shape = " x ".join(map(str, image.shape))
        facts |= {f"image_id{suffix}": image_id, f"image{suffix}": f"{content_id(image)} ({shape})"}
        facts[f"target{suffix}"] = label
    return facts
