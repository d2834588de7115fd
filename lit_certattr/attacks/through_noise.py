"""What all attacks through the noise share."""

import torch
from torch import Tensor, nn

from lit_certattr.attacks.candidates import search_candidates
from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.geometry import geometry_of, searched_without_gradients
from lit_certattr.attacks.grid import to_grid
from lit_certattr.attacks.label import check_classifier, same_label
from lit_certattr.attacks.loop import Score, attack, checked_images
from lit_certattr.attribution import frozen
from lit_certattr.errors import InputError
from lit_certattr.preflight.network import check_network
from lit_certattr.smoothing import DiscreteGaussianNoise, Noise

_NOISE_STREAM = 0x5EED_0000_0000
"""Keeps the noise apart from the random starts, which are drawn from the same seed."""


def check_counts(draws: int, judge_draws: int, batch_size: int) -> None:
    """Refuse numbers below 1.

    Args:
        draws: Noisy samples per gradient.
        judge_draws: Noisy samples per evaluation of a point.
        batch_size: Images evaluated at once.

    Raises:
        InputError: If one of them is below 1; the message names all three.
    """
    if min(draws, judge_draws, batch_size) < 1:
        raise InputError(
            f"draws, judge_draws and batch_size must be at least 1, got {draws}, {judge_draws}, {batch_size}"
        )


def noise_generator(config: AttackConfig, images: Tensor) -> torch.Generator | None:
    """The generator of the noise of an attack, seeded by ``config.seed``; ``None`` for torch's global generator.

    Args:
        config: Settings of the attack.
        images: Give the device.
    """
    return None if config.seed is None else torch.Generator(images.device).manual_seed(_NOISE_STREAM ^ config.seed)


def attack_through_noise(
    model: nn.Module,
    noise: Noise,
    images: Tensor,
    config: AttackConfig,
    score: Score,
    criterion: Score,
    *,
    eps: Tensor | None,
    keep_label: bool,
) -> Tensor:
    """Run the attack loop on a frozen network; if the noise lives on a grid, so does the result.

    For noise with nuisance modes, l2 budgets are lengths of its budget
    (:class:`~lit_certattr.budgets.EllipsoidBudget`): the attack may spend them on amounts of the modes too. For laws
    whose budget is no ball (exposure, gamma, contrast, blur, patches) the changed images that the budget names are
    tried, as many as points of a gradient search (:func:`~lit_certattr.attacks.candidates.search_candidates`).

    Args:
        model: Network from images in [0, 1] to logits.
        noise: Noise law that ``score`` and ``criterion`` use.
        images: Clean images ``[B, C, H, W]``.
        config: Settings of the search.
        score: Score ``[B]`` that the attack increases, under fresh noise.
        criterion: Value ``[B]`` by which the best point is chosen, under fresh noise.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        keep_label: Whether to accept only points with the prediction (without noise) of the clean image.

    Returns:
        Perturbed images; the image itself if no other point was accepted.

    Raises:
        InputError: If the noise cannot be added to an image, the network changes its input or returns anything but two
            or more finite logits, or as :func:`~lit_certattr.attacks.attack`.
    """
    for index, image in enumerate(images):
        noise.check(image, str(index))
    with torch.inference_mode(False), frozen(check_network(model)):
        clean = checked_images(images, config, eps)[0]
        check_classifier(model, clean)
        accept = same_label(model, clean) if keep_label else None
        if searched_without_gradients(noise, config.norm):
            lengths = torch.full((len(images),), config.eps, dtype=torch.float64) if eps is None else eps
            return search_candidates(noise.budget, clean, lengths, config, criterion, accept, score)
        geometry = geometry_of(noise, config.norm, clean[0]) if len(clean) else None
        found = attack(score, images, config, eps=eps, criterion=criterion, accept=accept, geometry=geometry)
        if not isinstance(noise, DiscreteGaussianNoise):
            return found
        budget = torch.full((len(images),), config.eps) if eps is None else eps
        found = to_grid(found, images, budget.to(images.device), config.norm, noise.levels)
        if accept is None:
            return found
        with torch.no_grad():
            return torch.where(accept(found.clone()).view(-1, 1, 1, 1), found, images)
