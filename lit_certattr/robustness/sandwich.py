"""One image: attack all that is certified about it, and judge the perturbed images with fresh noise."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lit_certattr.attacks import AttackConfig, SmoothedObjective, attack_noisy_prediction, attack_smoothed
from lit_certattr.attacks.geometry import length_of_change
from lit_certattr.attribution import frozen
from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import HasSmoothedMap
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict
from lit_certattr.certificates.result import MASKED, regions_of
from lit_certattr.certification import Certifier
from lit_certattr.errors import InputError
from lit_certattr.robustness.evaluation import evaluate_candidates
from lit_certattr.robustness.quantities import quantities
from lit_certattr.smoothing import alpha_slack
from lit_certattr.statistics.rounding import at_most

SECOND_ORDER = 3
"""Approximate passes for the gradient of a noisy map, which needs a backward pass through a backward pass."""
_TRIED = 2
"""Steps of a search by which its speed is measured."""
PREDICTION = "the prediction"
"""Name of the attack on the prediction; no certificate can have this name."""


class Candidate(NamedTuple):
    """A perturbed image that an attack has found.

    Attributes:
        budget: l2 radius of the ball in which the attack searched; 0 for the clean image itself.
        attack: Name of the attack, see :class:`~lit_certattr.robustness.Quantity`; ``"none"`` for the clean image.
        random: Whether the random search has found it.
        length: l2 length of the perturbation, or its length in the budget of the noise, measured in float64.
    """

    budget: float
    attack: str
    random: bool
    length: float


class ImageSandwich(NamedTuple):
    """The outcome of the attacks on one image.

    Attributes:
        candidates: The perturbed images, in the order of ``images``.
        images: Perturbed images ``[N, C, H, W]``, on the CPU.
        maps: Their smoothed maps, estimated from fresh noise, float32 ``[N, H, W]``: the votes of the smallest K as
            shares of the samples, or the means of normalised maps. Where no certificate counts maps, as that of the
            prediction: the maps without noise.
        rows: One per quantity and budget: what is certified, and what is left under the worst perturbation found. The
            columns are those of :func:`lit_certattr.records.attack_directory.schema`.
    """

    candidates: list[Candidate]
    images: Tensor
    maps: Tensor
    rows: list[dict[str, Any]]


class SandwichAttack:
    """Attacks the certificates of an image at several budgets.

    For each quantity that a certificate bounds (such as the pixels that keep their label, for each level of K) and each
    budget, :func:`~lit_certattr.attacks.attack_smoothed` searches for the worst perturbation, and
    :func:`~lit_certattr.attacks.attack_noisy_prediction` for one that makes the noisy network predict another class
    (unless ``keep_label`` is set). Each perturbed image, and the clean image, is then sampled with fresh noise and
    judged for *every* quantity. What is left at a budget is the minimum over all perturbations found within it; for
    pixels, the pixels that none of them breaks.

    Args:
        certifier: Certifier of the run, with the number of samples and the seed of the judging noise; the seed must
            differ from the seed of the run.
        config: Settings of the search in l2; ``eps`` is replaced by each budget.
        budgets: l2 radii, positive; for noise with nuisance modes, lengths of its budget.
        draws: Noisy maps per step.
        judge_draws: Noisy maps that judge a point during the search.
        keep_label: Whether only points count that get the same prediction as the clean image. Certificates do not
            assume this.
        random_search: Whether to run, beside every attack, a random search with the same number of points. A number
            without a gradient is attacked by the random search in any case.

    Raises:
        InputError: If a setting is out of range.
    """

    def __init__(
        self,
        certifier: Certifier,
        config: AttackConfig,
        budgets: Sequence[float],
        *,
        draws: int = 8,
        judge_draws: int = 64,
        keep_label: bool = False,
        random_search: bool = False,
    ) -> None:
        if not budgets or not all(0 < budget < float("inf") for budget in budgets):
            raise InputError(f"budgets must be positive numbers, at least one, got {list(budgets)}")
        if config.norm != "l2":
            raise InputError(f"certificates are about l2 balls: norm must be 'l2', got {config.norm!r}")
        if min(draws, judge_draws) < 1:
            raise InputError(f"draws and judge_draws must be at least 1, got {draws} and {judge_draws}")
        certifier.check_images_apart()
        for name, certificate in certifier.certificates.items():
            if (chosen := getattr(certificate, "num_selection", 0)) >= certifier.num_samples // 2:
                raise InputError(
                    f"{name}: num_selection={chosen} must be less than half of the {certifier.num_samples} samples "
                    "that judge; increase num_samples"
                )
        self.certifier, self.config, self.budgets = certifier, config, sorted(set(budgets))
        self.draws, self.judge_draws, self.keep_label = draws, judge_draws, keep_label
        self.searches = {False: config} | ({True: config.random_search()} if random_search else {})

    def num_passes(self, results: Mapping[str, Result]) -> int:
        """Approximate number of passes through the network for an image with these certificates.

        Args:
            results: Its certificates by name.
        """
        attacks = self._attacks(list(quantities(results)))
        searched = 0
        for quantity in attacks.values():
            order = 1 if quantity is None else _cost(quantity.objective(torch.device("cpu")))
            for config in self.searches.values():
                searched += config.restarts * config.steps * self.draws * order
                searched += (config.num_points + 1) * self.judge_draws
        judged = len(attacks) * len(self.budgets) * len(self.searches) + 1
        judged += any(results[quantity.certificate].paired for quantity in quantities(results))
        return len(self.budgets) * searched + judged * self.certifier.num_samples

    def passes_per_second(self, model: nn.Module, image: Tensor, results: Mapping[str, Result], image_id: str) -> float:
        """Measure the speed by a few steps of the costliest search, in passes as :meth:`num_passes` counts them.

        Args:
            model: As for the attack of an image; it stays unchanged.
            image: As there.
            results: As there.
            image_id: As there.
        """
        certifier = self.certifier.placed(image, image_id)
        if certifier is not self.certifier:
            own = copy.copy(self)
            own.certifier = certifier
            return own.passes_per_second(model, image, results, image_id)
        attacks = self._attacks(list(quantities(results)))
        costs = {name: 1 if one is None else _cost(one.objective(image.device)) for name, one in attacks.items()}
        quantity = attacks[max(costs, key=lambda name: costs[name])]
        (config, *_) = self._searches(quantity, results).values()
        few = replace(config, eps=self.budgets[0], steps=min(config.steps, _TRIED), restarts=1)
        target, done = int(next(iter(results.values())).sampling["target"]), [0]

        def count(passes: int) -> None:
            done[0] += passes

        with torch.inference_mode(False), torch.no_grad(), frozen(model):
            model = self.certifier.uncompiled_network(model, image[None])
            self._search(model, image, target, quantity, replace(few, steps=min(few.steps, 1)), None)  # starts up
            started = time.perf_counter()
            self._search(model, image, target, quantity, few, count)
            return done[0] / max(time.perf_counter() - started, 1e-9)

    def __call__(
        self,
        model: nn.Module,
        image: Tensor,
        results: Mapping[str, Result],
        image_id: str,
        error: float,
        on_passes: Callable[[int], None] | None = None,
    ) -> ImageSandwich:
        """Attack one image.

        Args:
            model: Network from images in [0, 1] to logits; it stays unchanged.
            image: Clean image ``[C, H, W]``, on the network's device.
            results: Its certificates by name, as a run has stored them.
            image_id: Its id, which determines the judging noise.
            error: Family-wise error rate of all statements about the perturbed images of this image.
            on_passes: Called with the number of passes of each piece of work, for a progress bar.

        Raises:
            InputError: If no certificate can be attacked, ``error`` is too small for the noise, or the explanation
                cannot be differentiated.
        """
        asked = list(quantities(results))
        if not asked:
            raise InputError(f"image {image_id}: none of its certificates can be attacked ({', '.join(results)})")
        if _smoothed(results) is None and not any(result.map_shape for result in results.values()):
            raise InputError(f"image {image_id}: none of its certificates has a smoothed_map() to show")
        certifier = self.certifier.placed(image, image_id)
        check_regions(certifier, results, image_id)
        check_masks(certifier, results, image_id)
        if certifier is not self.certifier:
            own = copy.copy(self)
            own.certifier = certifier
            return own(model, image, results, image_id, error, on_passes)
        target = int(next(iter(results.values())).sampling["target"])
        with torch.inference_mode(False), torch.no_grad(), frozen(model):
            image = image.clone() if image.is_inference() else image
            # Searches need second derivatives, which a compiled network has not; what they find is judged with it.
            searched = self.certifier.uncompiled_network(model, image[None])
            model = self.certifier.network(model, image[None])
            found = [(Candidate(0.0, "none", False, 0.0), image)]
            for name, quantity in self._attacks(asked).items():
                for random, config in self._searches(quantity, results).items():
                    for budget in self.budgets:
                        point = self._search(searched, image, target, quantity, replace(config, eps=budget), on_passes)
                        length = length_of_change(self.certifier.noise, image, point)
                        found.append((Candidate(budget, name, random, length), point))
            candidates, points = [one for one, _ in found], [point for _, point in found]
            evaluations = evaluate_candidates(self.certifier, model, image, points, target, image_id, on_passes)
            slack = len(candidates) * alpha_slack(self.certifier.noise, self.certifier.num_samples, image.numel())
            if slack >= error:
                raise InputError(f"error={error} must be above {at_most(slack, 2)}, which the noise itself spends")
            level = (error - slack) / (len(asked) * len(candidates))
            rows = []
            for quantity in asked:
                verdicts = [quantity.judge(evaluation, level) for evaluation in evaluations]
                judged = list(zip(candidates, verdicts, evaluations, strict=True))
                rows += [self._row(quantity, judged, budget) for budget in (0.0, *self.budgets)]
            shown = [_smoothed(evaluation.results) for evaluation in evaluations]
            maps = [
                self._explained(model, point, target) if one is None else one
                for point, one in zip(points, shown, strict=True)
            ]
        return ImageSandwich(
            candidates, torch.stack(points).cpu(), torch.stack(maps), [{"id": image_id} | row for row in rows]
        )

    def _attacks(self, asked: Sequence[Quantity]) -> dict[str, Quantity | None]:
        """The attacks to run, each for the first quantity that needs it; ``None`` for the attack on the prediction."""
        named: dict[str, Quantity | None] = {}
        for quantity in asked:
            named.setdefault(quantity.attack, quantity)
        return named if self.keep_label else named | {PREDICTION: None}

    def _searches(self, quantity: Quantity | None, results: Mapping[str, Result]) -> dict[bool, AttackConfig]:
        """The searches for one quantity; the random one alone for a goal that has no gradient."""
        shapes = (one.map_shape for one in results.values())
        smoothed = _smoothed(results)
        height, width = next(filter(None, shapes)) if smoothed is None else smoothed.shape
        if quantity is None or quantity.objective(torch.device("cpu")).has_gradient((height, width)):
            return self.searches
        return {True: self.config.random_search()}

    def _search(
        self,
        model: nn.Module,
        image: Tensor,
        target: int,
        quantity: Quantity | None,
        config: AttackConfig,
        on_passes: Callable[[int], None] | None,
    ) -> Tensor:
        cost = 1 if quantity is None else _cost(quantity.objective(image.device))

        def spent(maps: int, graph: bool = False) -> None:
            if on_passes is not None:
                on_passes(maps * (cost if graph else 1))

        noise, images, targets = self.certifier.noise, image[None], torch.tensor([target], device=image.device)
        together = self.certifier.block_size(image)
        if quantity is None:
            return attack_noisy_prediction(
                model,
                noise,
                images,
                targets,
                replace(config, smooth_beta=None),
                draws=self.draws,
                judge_draws=self.judge_draws,
                batch_size=together,
                on_images=spent,
            )[0]
        return attack_smoothed(
            model,
            self.certifier.attribution,
            noise,
            images,
            targets,
            quantity.objective(image.device),
            config,
            draws=self.draws,
            judge_draws=self.judge_draws,
            keep_label=self.keep_label,
            batch_size=together,
            on_maps=spent,
        )[0]

    def _explained(self, model: nn.Module, point: Tensor, target: int) -> Tensor:
        """The map of a perturbed image without noise, float32 ``[H, W]``."""
        targets = torch.tensor([target], device=point.device)
        return self.certifier.attribution(model, point[None].clone(), targets)[0].detach().float().cpu()

    def _row(
        self, quantity: Quantity, judged: Sequence[tuple[Candidate, Verdict, Evaluation]], budget: float
    ) -> dict[str, Any]:
        """What is certified at a budget, and the minimum of what is left within it."""
        within = [entry for entry in judged if entry[0].budget <= budget]
        clean = judged[0][1].kept
        worst = min(within, key=lambda entry: float(torch.minimum(clean, entry[1].kept).sum()))[0]
        lucky = [evaluation for one, _, evaluation in within if one.random or one.attack == "none"]
        certified = quantity.certified(budget)
        upper = float(torch.stack([verdict.upper for _, verdict, _ in within]).amin(0).sum())
        return {
            "certificate": quantity.certificate,
            "kind": quantity.kind,
            "quantity": quantity.name,
            "level": quantity.level,
            "top_k": quantity.top_k,
            "claim": quantity.claim,
            "size": quantity.scale,
            "budget": budget,
            "certified": quantity.share(certified),
            "attacked": quantity.share(quantity.least([evaluation for *_, evaluation in within])),
            "attacked_upper": quantity.share(upper),
            "gap": quantity.share(upper - certified),
            "random": quantity.share(quantity.least(lucky)) if len(self.searches) > 1 else None,
            "attack": worst.attack + (" (random)" if worst.random else ""),
            "contradicted": sum(
                quantity.contradicted(verdict, one.length)
                for one, verdict, _ in within
                if one.budget == budget and one.length < math.inf  # nothing is claimed of images that are not covered
            ),
            "num_samples": self.certifier.num_samples,
            "seed": self.certifier.seed,
        }


def _cost(objective: SmoothedObjective) -> int:
    """Approximate passes for the gradient of one noisy copy."""
    return SECOND_ORDER if objective.order > 1 else 1


def _smoothed(results: Mapping[str, Result]) -> Tensor | None:
    """The smoothed map of the first certificate that has one."""
    maps = (result.smoothed_map() for result in results.values() if isinstance(result, HasSmoothedMap))
    return next(maps, None)


def check_regions(certifier: Certifier, results: Mapping[str, Result], image_id: str) -> None:
    """Refuse an image whose regions are no longer those that were certified.

    Args:
        certifier: The certifier, placed for the clean image.
        results: Certificates of the image by name.
        image_id: Id of the image.

    Raises:
        InputError: If the regions differ; the message names the remedy.
    """
    now = regions_of(certifier.attribution.partition, certifier.noise.partition)
    for name, result in results.items():
        before = regions_of(result.partition, result.noise_partition)
        for what, who in (("regions", "method"), (MASKED, "noise")):
            if before.get(what) != now.get(what):
                raise InputError(
                    f"image {image_id}: {name} certifies {before.get(what, 'pixels')}, but the {who} now gives "
                    f"{now.get(what, 'pixels')}: use the masks and the version of scikit-image of the run, or certify "
                    "again"
                )


def check_masks(certifier: Certifier, results: Mapping[str, Result], image_id: str) -> None:
    """Refuse an image whose masks are no longer those that were certified.

    Args:
        certifier: The certifier, placed for the clean image.
        results: Certificates of the image by name.
        image_id: Id of the image.

    Raises:
        InputError: If masks differ; the message names the remedy.
    """
    for name, result in results.items():
        try:
            certifier.certificates[name].check_result(result)
        except InputError as error:
            raise InputError(
                f"image {image_id}, {name}: {error}: use the mask files of the run, or certify again"
            ) from None
