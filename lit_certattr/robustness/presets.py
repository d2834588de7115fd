"""How much effort an attack on certificates spends: three named choices of steps, starts, samples and budgets."""

from typing import Literal

import attrs

from lit_certattr.attacks import AttackConfig

Preset = Literal["quick", "standard", "thorough"]


@attrs.frozen
class AttackEffort:
    """The settings that a preset stands for; each can be replaced by a setting of its own.

    More effort gives stronger attacks and narrower bounds; what is certified does not change, and every statement about
    a perturbed image holds with the same confidence.

    Attributes:
        search: Settings of the search for each perturbation; ``eps`` is replaced by each budget.
        draws: Noisy samples averaged per attack gradient.
        judge_draws: Noisy samples averaged per point to select the worst point of the search.
        most_samples: Largest number of fresh samples per perturbed image; ``None`` for as many as in the run.
        multiples: The budgets, as multiples of the largest certified radius.
        random_search: Whether to run a random baseline with the same number of points.
    """

    search: AttackConfig
    draws: int
    judge_draws: int
    most_samples: int | None
    multiples: tuple[float, ...]
    random_search: bool

    def num_samples(self, recorded: int, least: int) -> int:
        """Fresh samples per perturbed image.

        Args:
            recorded: Samples per image of the run.
            least: Smallest number with which every certificate can be judged.

        Example:
            >>> PRESETS["quick"].num_samples(2000, least=30), PRESETS["quick"].num_samples(2000, least=500)
            (200, 500)
        """
        return recorded if self.most_samples is None else min(recorded, max(self.most_samples, least))


PRESETS: dict[Preset, AttackEffort] = {
    "quick": AttackEffort(
        AttackConfig(eps=1.0, steps=8, smooth_beta=5.0),
        draws=4,
        judge_draws=4,
        most_samples=200,
        multiples=(0.5, 2.0),
        random_search=False,
    ),
    "standard": AttackEffort(
        AttackConfig(eps=1.0, steps=20, smooth_beta=5.0),
        draws=8,
        judge_draws=16,
        most_samples=1000,
        multiples=(0.5, 1.0, 2.0),
        random_search=False,
    ),
    "thorough": AttackEffort(
        AttackConfig(eps=1.0, steps=30, restarts=2, smooth_beta=5.0),
        draws=8,
        judge_draws=64,
        most_samples=None,
        multiples=(0.25, 0.5, 1.0, 2.0, 4.0),
        random_search=True,
    ),
}
"""The presets of ``certify.py attack --preset``."""
