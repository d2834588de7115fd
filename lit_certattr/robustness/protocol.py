"""The evaluation of the literature on robust attributions: accuracy, adversarial accuracy, agreement of maps."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from lit_certattr.attacks import (
    AttackConfig,
    ExplanationObjective,
    TopKMass,
    attack_explanation,
    attack_prediction,
    distance,
)
from lit_certattr.attribution import Attribution, as_method, frozen
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional import (
    centre_shift,
    cosine_similarity,
    kendall,
    lens_kendall,
    lens_spearman,
    spearman,
    top_k_intersection,
)
from lit_certattr.metrics.functional.baselines import image_ids
from lit_certattr.metrics.lens import LENS
from lit_certattr.metrics.quality import Explained, MapQuality
from lit_certattr.metrics.quality.base import check_qualities
from lit_certattr.settings import Settings
from lit_certattr.settings.foreign import foreign_identity

Criterion = Literal["kendall", "top_k_intersection", "objective"]


class RobustnessProtocol(Settings):
    """Natural accuracy, adversarial accuracy, and how far an attack can change the map of each image.

    For every correctly classified image the protocol searches for the worst perturbation that keeps its label, and
    compares the maps of the clean and of the perturbed image (Chen et al., 2019; Singh et al., 2020; Kamath et al.,
    2024). A random search with the same number of points is the baseline: random perturbations lower the top-k
    intersection too, so only what an attack adds to them counts. Numbers that have a chance level are reported with it.

    A perturbation that does not lower the criterion is discarded: a failed attack returns the clean image, which counts
    as perfect agreement; ``moved`` says whether the attack succeeded.

    Args:
        attribution: The map.
        search: How the map is attacked.
        objective: What the attack maximises; ``None`` is :class:`~lit_certattr.attacks.TopKMass` at ``top_k``.
        prediction_search: How predictions are attacked (PGD on the margin); ``None`` omits adversarial accuracy.
        top_k: K of top-k intersection and LENS: a share in (0, 1) or a count of pixels.
        windows: Windows of LENS, in pixels.
        criterion: Which point of a search counts: the one with the smallest Kendall tau-b, as in the protocol of Chen
            et al. (2019), the one with the smallest top-k intersection, or the best one for the objective.
        random_search: Also run a random search with the same number of points.
        qualities: What the maps of the clean images are worth, each beside its chance level:
            ``SparsenessQuality()``, ``RandomLogitQuality()``, ``RankAccuracyQuality(mask)`` of
            :mod:`lit_certattr.metrics.quality`.

    Raises:
        InputError: If a setting is out of range.
    """

    def __init__(
        self,
        attribution: Attribution,
        search: AttackConfig,
        objective: ExplanationObjective | None = None,
        prediction_search: AttackConfig | None = None,
        top_k: float = 0.1,
        windows: Sequence[int] = (1, 2, 3),
        criterion: Criterion = "kendall",
        random_search: bool = True,
        qualities: Sequence[MapQuality] = (),
    ) -> None:
        if criterion not in get_args(Criterion):
            raise InputError(f"criterion must be one of {', '.join(get_args(Criterion))}, got {criterion!r}")
        self.attribution, self.search = as_method(attribution), search
        self.objective = TopKMass(top_k) if objective is None else objective
        self.prediction_search = prediction_search
        self._lens = [LENS(top_k, windows, diverse) for diverse in (False, True)]  # checks both
        self.top_k, self.windows = top_k, tuple(windows)
        self.criterion: Criterion = criterion
        self.qualities = check_qualities(qualities)
        self.searches = {"attack": search} | ({"random": search.random_search()} if random_search else {})

    def with_seed(self, seed: int) -> Self:
        """The same protocol with another seed for the random starting points.

        Args:
            seed: Seed of the random starts of all searches.
        """
        other = copy.copy(self)
        other.search = replace(self.search, seed=seed)
        other.searches = {name: replace(search, seed=seed) for name, search in self.searches.items()}
        if self.prediction_search is not None:
            other.prediction_search = replace(self.prediction_search, seed=seed)
        return other

    def settings(self) -> dict[str, Any]:
        """Everything besides the network and the images that determines the numbers, as plain values.

        For a method or objective of a class outside this package it also holds digests of the source and the state
        (:func:`~lit_certattr.settings.foreign.foreign_identity`).
        """
        of_maps = {"qualities": [repr(one) for one in self.qualities]} if self.qualities else {}
        return (
            {
                "attribution": repr(self.attribution),
                "searches": {name: repr(search) for name, search in self.searches.items()},
                "objective": repr(self.objective),
                "prediction_search": repr(self.prediction_search),
                "top_k": self.top_k,
                "windows": list(self.windows),
                "criterion": self.criterion,
            }
            | of_maps
            | foreign_identity(
                {"attribution": self.attribution, "objective": self.objective}
                | {one.name: one for one in self.qualities}
            )
        )

    @property
    def points_per_image(self) -> int:
        """Number of points that the searches of one image evaluate, for a progress bar."""
        searches = [*self.searches.values(), self.prediction_search]
        return sum(search.num_points for search in searches if search is not None)

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        on_block: Callable[[int], None] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[dict[str, float | int | bool | None]]:
        """Evaluate a batch; the mode, flags and gradients of the network stay unchanged.

        Random starting points are drawn for the batch as a whole: within the noise of a search, the numbers of an image
        depend on the other images of its batch.

        Args:
            model: Network from images in [0, 1] to logits.
            images: Images ``[B, C, H, W]`` in [0, 1].
            labels: True classes ``[B]``.
            on_block: Called with the number of points of each finished search, for a progress bar.
            ids: Ids of the images, by which masks are found; ``None`` takes a hash of the pixels of each.

        Returns:
            One row per image: ``prediction``, ``correct``, ``adversarial_correct`` (``None`` without that search), the
            qualities of its map, and the numbers of each search, ``None`` where the image is misclassified or a number
            is undefined.
        """
        report = on_block or (lambda _: None)
        with frozen(model), torch.inference_mode(False), torch.no_grad():
            images, labels = images.clone(), labels.clone()
            predictions = model(images.clone()).argmax(1)
            right = predictions == labels
            rows: list[dict[str, float | int | bool | None]] = [
                {"prediction": int(prediction), "correct": bool(correct), "adversarial_correct": None}
                for prediction, correct in zip(predictions.tolist(), right.tolist(), strict=True)
            ]
            chosen = right.nonzero()[:, 0].tolist()
            if self.prediction_search is not None:
                robust = torch.zeros_like(right)
                if chosen:
                    found = attack_prediction(model, images[right], labels[right], self.prediction_search)
                    robust[right] = model(found.clone()).argmax(1) == labels[right]
                for row, survives in zip(rows, robust.tolist(), strict=True):
                    row["adversarial_correct"] = survives
                report(len(images) * self.prediction_search.num_points)
            if chosen and self.qualities:
                names = [name for name, correct in zip(image_ids(images, ids), right.tolist(), strict=True) if correct]
                measured = self._measure(model, images[right], labels[right], names)
                for place, index in enumerate(chosen):
                    rows[index] |= {name: _plain(values[place]) for name, values in measured.items()}
            for name, search in self.searches.items():
                numbers = self._attack(model, images[right], labels[right], search) if chosen else {}
                for place, index in enumerate(chosen):
                    rows[index] |= {f"{name}_{key}": _plain(values[place]) for key, values in numbers.items()}
                report(len(images) * search.num_points)
        return rows

    def check(self, model: nn.Module, image: Tensor, image_id: str = "of any id") -> tuple[int, int]:
        """Refuse a network whose maps cannot be compared, by the map of one image.

        Args:
            model: Network from images in [0, 1] to logits.
            image: Image ``[C, H, W]`` in [0, 1].
            image_id: Its id.

        Returns:
            Height and width of the map.

        Raises:
            InputError: If the method cannot explain the image, ``top_k`` does not fit the map, or the map has none of
                the qualities.
        """
        with frozen(model), torch.no_grad():
            maps = self.attribution(model, image[None], torch.zeros(1, dtype=torch.long, device=image.device))
            self._compare(maps, maps)
            self.objective.criterion(maps, maps)
            self._measure(model, image[None], torch.zeros(1, dtype=torch.long, device=image.device), [image_id])
        return maps.shape[1], maps.shape[2]

    def _measure(self, model: nn.Module, images: Tensor, targets: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """The qualities of the maps, by the names of their columns."""
        if not self.qualities:
            return {}
        maps = self.attribution(model, images, targets)
        explained = Explained(model, self.attribution, images, targets, maps, names)
        return {
            column: values
            for one in self.qualities
            for column, values in zip(one.columns, one.values(explained), strict=True)
        }

    def _attack(self, model: nn.Module, images: Tensor, labels: Tensor, search: AttackConfig) -> dict[str, Tensor]:
        criteria = {"kendall": kendall, "top_k_intersection": self._intersection, "objective": None}
        found = attack_explanation(
            model, self.attribution, images, labels, self.objective, search, criterion=criteria[self.criterion]
        )
        clean, turned = (self.attribution(model, points, labels).abs() for points in (images, found))
        lengths = distance(found, images, search.norm)
        return {"distance": lengths, "moved": lengths > 0} | self._compare(clean, turned)

    def _compare(self, clean: Tensor, turned: Tensor) -> dict[str, Tensor]:
        numbers = {"kendall": kendall(clean, turned), "spearman": spearman(clean, turned)}
        numbers |= {"cosine": cosine_similarity(clean, turned), "centre_shift": centre_shift(clean, turned)}
        for lens in self._lens:
            values = lens.value(clean, turned)
            numbers |= {column.name: values[:, place] for place, column in enumerate(lens.columns)}
        for window in self.windows:
            numbers[f"lens_kendall_w{window}"] = lens_kendall(clean, turned, window)
            numbers[f"lens_spearman_w{window}"] = lens_spearman(clean, turned, window)
        return numbers

    def _intersection(self, clean: Tensor, perturbed: Tensor) -> Tensor:
        return top_k_intersection(clean.abs(), perturbed.abs(), self.top_k)


def _plain(value: Tensor) -> float | bool | None:
    number: float | bool = value.item()
    return None if number != number else number  # NaN: not a number of this image


def column_names(protocol: RobustnessProtocol) -> dict[str, str]:
    """Names of the qualities of the maps and of the numbers of a search, each with a description.

    Args:
        protocol: The protocol.

    Returns:
        Description of each number, by its name.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> names = column_names(RobustnessProtocol(Gradient(), AttackConfig(eps=0.1), top_k=0.2, windows=[1]))
        >>> names["lens_recall_w1"]
        'LENS recall, w = 1'
    """
    names = {quality.name: quality.words for quality in protocol.qualities}
    names |= {
        "top_k_intersection": "top-k intersection",
        "kendall": "Kendall tau-b",
        "spearman": "Spearman",
        "cosine": "cosine",
        "centre_shift": "shift of the centre, pixels",
        "distance": "length of the perturbation",
        "moved": "attack found something",
    }
    for first, words in (("", ""), ("diverse_", ", diverse")):
        for window in protocol.windows:
            if first:
                names[f"{first}top_k_intersection_w{window}"] = f"top-k intersection{words}, w = {window}"
            names[f"{first}lens_precision_w{window}"] = f"LENS precision{words}, w = {window}"
            names[f"{first}lens_recall_w{window}"] = f"LENS recall{words}, w = {window}"
    for window in protocol.windows:
        names[f"lens_kendall_w{window}"] = f"LENS-Kendall, w = {window}"
        names[f"lens_spearman_w{window}"] = f"LENS-Spearman, w = {window}"
    return names
