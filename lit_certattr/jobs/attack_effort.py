"""How much effort an attack spends: a preset with the settings that the user gave, and the forecast of its duration."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import attrs
import torch
from torch import nn

from lit_certattr.attacks import AttackConfig
from lit_certattr.budgets import Budget, LpBudget
from lit_certattr.callbacks.progress import duration
from lit_certattr.certification import Certifier
from lit_certattr.data import SampleSet
from lit_certattr.errors import InputError
from lit_certattr.jobs.parts import with_samples
from lit_certattr.records.run_directory import Record, RunDirectory
from lit_certattr.robustness import PRESETS, AttackEffort, Preset, SandwichAttack, quantities

_LONG = 1800.0
"""Seconds from which a shorter preset is proposed."""


def effort_of(preset: Preset) -> AttackEffort:
    """The settings of a preset.

    Args:
        preset: Its name.

    Raises:
        InputError: If there is no such preset.
    """
    if preset not in PRESETS:
        raise InputError(f"preset must be one of {', '.join(get_args(Preset))}, got {preset!r}")
    return PRESETS[preset]


@attrs.frozen
class GivenSettings:
    """The settings of an attack that the user gave; for those that are ``None`` the preset decides.

    Attributes:
        budgets: l2 lengths of the perturbations.
        search: Settings of the search.
        draws: Noisy samples per gradient.
        judge_draws: Noisy samples per judged point.
        random_search: Whether to run a random baseline.
        num_samples: Fresh samples per perturbed image.
        keep_label: Accept only perturbations that keep the predicted label.
        seed: Seed of the fresh noise.
    """

    budgets: Sequence[float] | None
    search: AttackConfig | None
    draws: int | None
    judge_draws: int | None
    random_search: bool | None
    num_samples: int | None
    keep_label: bool
    seed: int

    def attack(
        self, effort: AttackEffort, certifier: Certifier, run: RunDirectory, ids: Sequence[str], first: Record
    ) -> SandwichAttack:
        """The attack with these settings and, for the others, those of a preset.

        Args:
            effort: The settings of the preset.
            certifier: Certifier of the run.
            run: The run.
            ids: Ids of the images to attack.
            first: Record of the first of them.

        Raises:
            InputError: If a setting is out of range.
        """
        return SandwichAttack(
            self._judge(effort, certifier, first),
            replace(effort.search if self.search is None else self.search, eps=1.0),
            default_budgets(run, ids, effort.multiples) if self.budgets is None else self.budgets,
            draws=effort.draws if self.draws is None else self.draws,
            judge_draws=effort.judge_draws if self.judge_draws is None else self.judge_draws,
            keep_label=self.keep_label,
            random_search=effort.random_search if self.random_search is None else self.random_search,
        )

    def _judge(self, effort: AttackEffort, certifier: Certifier, first: Record) -> Certifier:
        """The certifier of the fresh samples: a fixed number of them."""
        height, width = first.clean_map.shape
        number = self.num_samples
        if number is None:
            kinds = certifier.certificates.values()
            least = max(one.smallest_num_samples(height * width) for one in kinds)
            selection = max(getattr(one, "num_selection", 0) for one in kinds)  # less than half of the samples
            number = effort.num_samples(certifier.num_samples, max(least, 2 * selection + 2))
        judge = with_samples(certifier, number, self.seed)
        judge.stopping = ()
        judge.check_sample_size((height, width))
        return judge


def default_budgets(run: RunDirectory, ids: Sequence[str], multiples: Sequence[float]) -> list[float]:
    """Multiples of the largest certified radius of a run, or of sigma if nothing is certified.

    Lengths that count parts of an image are whole numbers.

    Args:
        run: The run.
        ids: Ids of the images to attack.
        multiples: The multiples.
    """
    radius, usual = 0.0, 1.0
    budget: Budget = LpBudget(None)
    for record in run.records(ids):
        first = next(iter(record.results.values()))
        budget, usual = first.change_budget, first.scale
        radius = max([radius, *(quantity.reach() for quantity in quantities(record.results))])
    return sorted({budget.sensible(multiple * (radius or usual)) for multiple in multiples})


def tell_forecast(
    preset: Preset,
    attack: SandwichAttack,
    quick: SandwichAttack,
    network: nn.Module,
    samples: SampleSet,
    first: Record,
    todo: int,
    device: torch.device,
    processes: int,
) -> None:
    """Time a few steps on the first image, and print on stderr how long the attack will take.

    Args:
        preset: Name of the preset.
        attack: The attack.
        quick: The attack with the same settings and the preset ``quick``.
        network: The network.
        samples: The images.
        first: Record of the first image.
        todo: Number of images that are not attacked yet.
        device: Device of the attack.
        processes: Number of processes that share the images.
    """
    network.to(device)
    image = samples[0].image.to(device)
    rate = attack.passes_per_second(network, image, first.results, samples.ids[0])
    own = -(-todo // processes)
    passes = attack.num_passes(first.results)
    seconds = own * passes / rate
    line = (
        f"{todo} image{'s' * (todo != 1)} x about {passes:,} passes, {rate:,.0f} passes/s: about {duration(seconds)} "
        f"with the preset {preset}"
    )
    shorter = own * quick.num_passes(first.results) / rate
    if preset != "quick" and seconds > _LONG and shorter < seconds / 2:
        line += f", about {duration(shorter)} with quick"
    sys.stderr.write(f"{line}\n")
