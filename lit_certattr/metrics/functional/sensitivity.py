"""Max-sensitivity: how far a map moves when the image is moved a little, at random. Through Captum."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_certattr.attacks.config import Norm
from lit_certattr.attribution import Attribution, frozen
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import image_ids
from lit_certattr.metrics.functional.deletion import check_classes
from lit_certattr.settings.extras import extra
from lit_certattr.smoothing import UniformBallNoise, normal_stream

Explained = Tensor | tuple[Tensor]


def max_sensitivity(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    attribution: Attribution,
    *,
    radius: float,
    norm: Norm = "l2",
    num_samples: int = 50,
    max_batch: int = 64,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> Tensor:
    r"""Largest relative change of the map over random perturbations of bounded size.

    .. math:: \max_{j \le m} \|\Phi(x + \delta_j) - \Phi(x)\|_2 \,/\, \|\Phi(x)\|_2, \quad
              \delta_j \text{ uniform in the ball } \|\delta\| \le r

    A lower bound of the true maximum: an attack finds more. It says nothing about what the map shows: one that ignores
    image and network has sensitivity 0. Perturbed images are not clipped to [0, 1].

    Args:
        model: Network from images in [0, 1] to logits; its mode, flags and gradients stay unchanged.
        images: Images ``[B, C, H, W]``.
        targets: Explained classes ``[B]``, the same for all perturbations of an image.
        attribution: The method.
        radius: Radius r of the ball, in pixel units.
        norm: ``"l2"``, or ``"linf"`` as in the paper.
        num_samples: Perturbations m of each image; sample j is a function of (seed, id, j) alone.
        max_batch: Most images explained at once.
        seed: Seed of the perturbations.
        ids: Ids of the images, which key their perturbations; ``None`` uses a hash of the pixels.

    Returns:
        Float ``[B]``, 0 or more; for a map of zeros the change is not divided.

    Raises:
        InputError: If a number is out of range, or ids are not one per image.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> max_sensitivity(net, torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), Gradient(), radius=0.1, num_samples=5)
        tensor([0., 0.])

    Reference: Yeh et al., "On the (in)fidelity and sensitivity of explanations", NeurIPS 2019 (who do not divide).
    """
    with extra("captum", "max_sensitivity"):
        from captum.metrics import sensitivity_max  # on use: it imports pyplot

    if not (math.isfinite(radius) and radius > 0):
        raise InputError(f"radius must be a positive number, got {radius}")
    if norm not in ("l2", "linf"):
        raise InputError(f"norm must be l2 or linf, got {norm!r}")
    check_counts(num_samples, max_batch)
    found = []
    with torch.inference_mode(False), torch.no_grad(), frozen(model):
        images, targets = images.clone(), targets.to(images.device, copy=True)  # usable outside of inference_mode
        check_classes(model, images, targets)
        names = image_ids(images, ids)
        for first in range(0, len(images), max_batch):
            part = slice(first, first + max_batch)
            group, labels = images[part], targets[part]

            def explain(inputs: Explained, labels: Tensor = labels) -> Explained:
                if isinstance(inputs, tuple):  # captum gives and wants back the clean images as a tuple
                    return (explain(inputs[0]),)  # type: ignore[return-value]
                return attribution(model, inputs, repeat(labels, len(inputs))).contiguous()

            found.append(
                sensitivity_max(
                    explain,
                    group,
                    perturb_func=BallPerturbation(names[part], radius, norm, seed, images.device),
                    n_perturb_samples=num_samples,
                    max_examples_per_batch=full_batch(len(group), num_samples, max_batch),
                )
            )
    return torch.cat(found)


class BallPerturbation:
    """Captum's ``perturb_func``: the next samples of every image, keyed by its id, uniform in an l2 or l_inf ball.

    Args:
        ids: Ids of the images.
        radius: Radius of the ball.
        norm: ``"l2"`` or ``"linf"``.
        seed: Seed of the perturbations.
        device: Device of the images.
    """

    def __init__(self, ids: Sequence[str], radius: float, norm: Norm, seed: int, device: torch.device) -> None:
        self.streams = [normal_stream(seed, f"{name}\x00sensitivity", device) for name in ids]
        self.radius, self.norm = radius, norm
        self.start = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        """Perturb images ``[B * n, C, H, W]``, in which each image stands ``n`` times in a row."""
        count = len(inputs) // len(self.streams)
        perturbed = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        for rows, image, normals in zip(perturbed.flatten(1).split(count), inputs[::count], self.streams, strict=True):
            if self.norm == "l2":
                sigma = self.radius / math.sqrt(image.numel() + 2)  # of the ball of this radius
                UniformBallNoise(sigma).perturb_(rows, image.flatten(), normals, self.start)
            else:
                z = normals.fill_(torch.empty(rows.shape, device=normals.device), self.start).to(rows)
                rows.copy_(image.flatten() + self.radius * torch.erf(z / math.sqrt(2)))  # 2 Phi(z) - 1 is uniform
        self.start += count
        return perturbed


def full_batch(num_images: int, num_samples: int, max_batch: int) -> int:
    """The value for Captum's ``max_examples_per_batch`` with which it neither warns nor exceeds ``max_batch``.

    Args:
        num_images: Number of images.
        num_samples: Number of samples per image.
        max_batch: Most images evaluated at once.
    """
    return num_images * min(num_samples, max(1, max_batch // num_images))


def repeat(values: Tensor, length: int) -> Tensor:
    """Repeat each entry of ``values``, so that the result has ``length`` entries.

    Args:
        values: Tensor ``[n, ...]``.
        length: Length of the result, a multiple of n.
    """
    return values.repeat_interleave(length // len(values), dim=0)


def check_counts(num_samples: int, max_batch: int) -> None:
    """Refuse numbers of samples below 1.

    Args:
        num_samples: Number of samples per image.
        max_batch: Most images evaluated at once.

    Raises:
        InputError: If one of them is below 1.
    """
    if num_samples < 1 or max_batch < 1:
        raise InputError(f"num_samples and max_batch must be at least 1, got {num_samples} and {max_batch}")
