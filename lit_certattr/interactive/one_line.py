"""Certify whatever the user has at hand, in one line."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lit_certattr.attribution import as_method, frozen
from lit_certattr.certificates import (
    Certificate,
    Claim,
    ClaimCertificate,
    PixelCertificate,
    Result,
    TopKOverlapCertificate,
)
from lit_certattr.certificates.noisy_accuracy import warning
from lit_certattr.certification import NOISY_MAJORITY, Certifier
from lit_certattr.certification.named import named_certificates
from lit_certattr.data import Sample
from lit_certattr.errors import InputError
from lit_certattr.interactive.certified import CertifiedImage, CertifiedImages
from lit_certattr.interactive.class_names import check_names, names_of_classes
from lit_certattr.interactive.images import Batch, read_batch
from lit_certattr.interactive.network import (
    Normalisation,
    expectations,
    normalising,
    statistics_of,
    warn_of_missing_normalisation,
)
from lit_certattr.interactive.progress import sampling_bar
from lit_certattr.models import without_denoiser
from lit_certattr.models.names import suggestion
from lit_certattr.preflight import check_network, denoiser_warning
from lit_certattr.settings import whole_number
from lit_certattr.smoothing import GaussianNoise, Noise

_log = logging.getLogger(__name__)

Picture = str | Path | Image.Image
"""One image, and never a batch."""
_CALLED_ELSEWHERE = {
    **dict.fromkeys(("label", "labels", "class_index", "y"), "did you mean targets?"),
    "classes": "did you mean targets or class_names?",
    **dict.fromkeys(("method", "explainer"), "did you mean attribution?"),
    "sigma": "did you mean noise?",
}
"""What arguments are meant by their names in other libraries."""
Targets = int | str | Sequence[int] | Sequence[str] | Tensor | NDArray | None


class Settings(TypedDict, total=False):
    """The keyword arguments of :func:`certify`, for type checkers."""

    attribution: Any
    noise: Noise | float
    certificates: Certificate | Sequence[Certificate] | Mapping[str, Certificate] | None
    claims: Claim | Sequence[Claim]
    normalisation: Normalisation
    size: int | None
    class_names: Sequence[str]
    ids: str | Sequence[str] | None
    num_samples: int
    batch_size: int | Literal["auto"]
    seed: int
    progress: bool


@overload
def certify(
    model: nn.Module, images: Picture, targets: Targets = None, **settings: Unpack[Settings]
) -> CertifiedImage: ...
@overload
def certify(
    model: nn.Module, images: list[Any], targets: Targets = None, **settings: Unpack[Settings]
) -> CertifiedImages: ...
@overload
def certify(
    model: nn.Module, images: Tensor | NDArray | Sample, targets: Targets = None, **settings: Unpack[Settings]
) -> Any: ...
def certify(
    model: nn.Module,
    images: Any,
    targets: Targets = None,
    *,
    attribution: Any = "gradient",
    noise: Noise | float = 0.25,
    certificates: Certificate | Sequence[Certificate] | Mapping[str, Certificate] | None = None,
    claims: Claim | Sequence[Claim] = (),
    normalisation: Normalisation = None,
    size: int | None = None,
    class_names: Sequence[str] = (),
    ids: str | Sequence[str] | None = None,
    num_samples: int = 1000,
    batch_size: int | Literal["auto"] = "auto",
    seed: int = 0,
    progress: bool = True,
    **unknown: Any,
) -> Any:
    """Certify the attribution map of one image or several, in one line.

    It calls a :class:`~lit_certattr.Certifier`: the same network, images, settings and ids give the same results as the
    command line. Images go to the device of the network, whose mode, flags and gradients stay as they are.

    It logs a warning if less than half of the noisy copies are predicted as the explained class, if a denoiser in front
    of the network removes no noise, and if a network of torchvision or timm gets images that are not normalised.

    Args:
        model: Network from images to logits ``[B, num_classes]``.
        images: One image: a path, a PIL picture, a NumPy array or a tensor
            (:func:`~lit_certattr.data.arrays.as_pixels` says how each is read). Several of one size: a list of these,
            or a batch ``[B, C, H, W]``. Pixels lie in [0, 1], or in 0 to 255 for bytes.
        targets: Class to explain, for all images or one per image: an index, or a name of ``class_names``. ``None``
            takes the prediction for the clean image, and ``"noisy_majority"`` the class that most of 100 other noisy
            copies are predicted as. The class is fixed before sampling.
        attribution: A method, the name of one (``"grad_cam"``), a function ``(model, images, targets) -> maps``; see
            :func:`~lit_certattr.attribution.as_method`.
        noise: Noise law, or the standard deviation of Gaussian noise, in pixel units.
        certificates: One certificate or several; ``None`` for labels of the pixels and the overlap of the top K.
        claims: Claims about the map, which get a certificate of their own, ``"claims"``.
        normalisation: ``(mean, std)`` that the network expects of its input, or ``"imagenet"``: it becomes the first
            layer of the network, so that noise and radii are in pixel units. If all floating-point images lie well
            outside [0, 1], they are taken as normalised by it, which is undone; images inside [0, 1] are taken as
            pixels. ``False`` says that the network takes images in [0, 1].
        size: Scale the central square of each image to this height and width, by antialiased bicubic interpolation.
            ``None``: pictures and files get the size that the network declares, if it does; all else stays as it is.
        class_names: Name of each logit, for tables and figures; ``()`` for those that the network declares, if it does.
        ids: Id of each image, which determines its noise; ``None`` for ids of samples, else a hash of the pixels.
        num_samples: Noisy samples per image.
        batch_size: Samples evaluated at once; ``"auto"`` takes as many as fit.
        seed: Seed of the noise.
        progress: Show a bar with the time left, if the work takes longer than a second.
        unknown: Refused; the message names the argument that may be meant.

    Returns:
        For one image a :class:`CertifiedImage`, a mapping from names of certificates to results; for a list or a batch
        :class:`CertifiedImages`, a sequence of these.

    Raises:
        InputError: If an argument or an image cannot be used; the message names the remedy, and nothing is sampled.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> certified = certify(net, torch.rand(1, 4, 4), num_samples=100)
        >>> sorted(certified)
        ['pixel', 'topk_overlap']
        >>> len(certify(net, torch.rand(2, 1, 4, 4), attribution="input_x_gradient", num_samples=100))
        2
    """
    for name in unknown:
        close = suggestion(name, ["targets", *Settings.__annotations__])
        raise InputError(f"certify has no argument {name!r}; {_CALLED_ELSEWHERE.get(name, close)}")
    expects, statistics = expectations(_network(model, images)), statistics_of(normalisation)
    batch = read_batch(images, expects, size if size is None else whole_number("size", size, least=1), statistics)
    names = names_of_classes(class_names, model)
    certifier = Certifier(
        as_method(attribution, model),
        noise if isinstance(noise, Noise) else GaussianNoise(noise),
        _certificates(certificates, claims),
        num_samples=num_samples,
        batch_size=batch_size,
        seed=seed,
    )
    classes = _classes(targets, len(batch.names), names)
    network = normalising(model, statistics, expects)
    if normalisation is None:
        warn_of_missing_normalisation(model)
    pixels = batch.pixels.to(expects.device, expects.dtype)
    ids = batch.ids if ids is None else [ids] if isinstance(ids, str) else ids
    check_names(names, network, pixels[:1])
    with sampling_bar(len(pixels) * num_samples, progress) as on_block:
        results = certifier(network, pixels, classes, ids, on_block)
    certified = _shown(certifier, network, pixels, results, batch, names)
    _warn(certifier, network, pixels, results)
    return certified[0] if batch.alone else CertifiedImages(certified)


def _network(model: Any, images: Any) -> nn.Module:
    """The network, or a line that says what to give in its place."""
    if isinstance(images, nn.Module):
        raise InputError("images are a network: the network comes first, certify(network, images)")
    if isinstance(model, str):
        raise InputError(
            f"model must be a network, got {model!r}: create one with TorchvisionClassifier(name), "
            "TimmClassifier(name) or HuggingFaceClassifier(path) of lit_certattr.models"
        )
    return check_network(model)


def _certificates(certificates: Any, claims: Claim | Sequence[Claim]) -> Mapping[str, Certificate]:
    """The certificates by name, with one for the claims."""
    if certificates is None:
        certificates = [PixelCertificate(), TopKOverlapCertificate()]
    named = named_certificates([certificates] if isinstance(certificates, Certificate) else certificates)
    listed = [claims] if isinstance(claims, Claim) else claims
    if not listed:
        return named
    if ClaimCertificate.name in named:
        raise InputError("claims would replace the certificate 'claims': give all claims to that certificate")
    return {**named, ClaimCertificate.name: ClaimCertificate(listed)}


def _classes(targets: Targets, count: int, names: Sequence[str]) -> Any:
    """One index per image, or a rule of the certifier."""
    if targets is None or (isinstance(targets, str) and targets == NOISY_MAJORITY):
        return targets
    given: Any = targets.tolist() if isinstance(targets, Tensor | np.ndarray | np.integer) else targets
    listed = [given] * count if isinstance(given, int | str) else given
    if not isinstance(listed, Sequence):
        return listed  # the certifier says what is wrong
    return [_index(one, names) if isinstance(one, str) else one for one in listed]


def _index(name: str, names: Sequence[str]) -> int:
    if name not in names:
        known = suggestion(name, names) if names else "give the names of the logits as class_names, or its number"
        raise InputError(f"there is no class {name!r}; {known}")
    if (count := list(names).count(name)) > 1:
        raise InputError(f"{count} classes are called {name!r}: give the index of the one that is meant")
    return list(names).index(name)


def _shown(
    certifier: Certifier,
    network: nn.Module,
    pixels: Tensor,
    results: Sequence[dict[str, Result]],
    batch: Batch,
    names: Sequence[str],
) -> list[CertifiedImage]:
    """The results with what their figures show: the images, and their maps without noise."""
    certified = []
    with torch.inference_mode(False), torch.no_grad(), frozen(network):
        explained = certifier.network(network, pixels[:1])
        for image, own, name in zip(pixels, results, batch.names, strict=True):
            sampling = next(iter(own.values())).sampling
            target = int(sampling["target"])
            prediction = int(without_denoiser(explained)(image[None].clone())[0].argmax())
            method = certifier.attribution.placed(image, str(sampling["image_id"]))
            clean_map = method(explained, image[None].clone(), torch.tensor([target], device=image.device))[0]
            certified.append(
                CertifiedImage(
                    name,
                    image.cpu(),
                    clean_map.detach().cpu(),
                    target,
                    prediction,
                    names[target] if target < len(names) else "",
                    own,
                )
            )
    return certified


def _warn(certifier: Certifier, network: nn.Module, pixels: Tensor, results: Sequence[dict[str, Result]]) -> None:
    accuracies = [next(iter(own.values())).noisy_accuracy for own in results]
    with frozen(network):
        ids = [str(next(iter(own.values())).sampling["image_id"]) for own in results[:4]]
        lines = (
            denoiser_warning(network, list(pixels[:4]), certifier.noise, ids),
            warning(accuracies, certifier.noise.remedy),
        )
    for line in lines:
        if line is not None:
            _log.warning("%s", line)
