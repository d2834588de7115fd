"""Certified prediction: the class that is explained stays the prediction of the noisy network."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.base import Accumulator, Certificate
from lit_certattr.certificates.claims_certificate import fewest
from lit_certattr.certificates.measures import Measure, NumberMeasure
from lit_certattr.certificates.prediction_result import PredictionResult
from lit_certattr.smoothing import VOTE_LAWS, MapBlock, Noise, class_votes
from lit_certattr.statistics import clopper_pearson_lower


class PredictionCertificate(Certificate):
    r"""Certified majority of the explained class among the predictions of the noisy copies.

    What it says: with probability at least :math:`1 - \alpha`, for all radii r at once, under every perturbation with
    an l2 norm up to r the share of the noisy copies that are predicted as the explained class lies in the interval
    that is given. Where it is above one half, the class is the prediction of the smoothed network. Where it is below
    one half, the class has no majority: the map explains a class that most noisy copies are not predicted as.

    **Theorem** (Cohen et al., 2019; here for one class, with both sides). Let c be a class that is fixed before
    sampling, A the set of images with the largest logit at c, B that of images with a larger logit elsewhere, both
    strictly and with finite logits, and :math:`p_A(x) = P[x + \sigma Z \in A]`, likewise :math:`p_B`. If
    :math:`L \le p_A(x)` and :math:`1 - U \le p_B(x)`, then for all :math:`\|\delta\|_2 \le r`

    .. math:: p_A(x + \delta) \ge \Phi(\Phi^{-1}(L) - r/\sigma), \qquad
        1 - p_B(x + \delta) \le \Phi(\Phi^{-1}(U) + r/\sigma).

    Proof: :func:`~lit_certattr.statistics.shift` for the indicators of A and of B; half-spaces attain both. ∎

    **Assumptions.** Gaussian noise, one fixed function of each image, a class that does not depend on the samples: the
    prediction for the clean image, the label, or the majority of other noisy copies. Ties and logits that are not
    finite are in neither set, so they count against the class from below and for it from above.

    **From samples.** Exact binomial bounds of both shares, at :math:`\alpha/2` each, so everything holds at once at
    :math:`\alpha`. The samples are those of the other certificates of the run, whose statements hold together with this
    one at the sum of the alphas (:func:`~lit_certattr.certificates.joint_statement`). Where the attribution method
    computes the logits of the noisy copies anyway, as gradients do, no copy passes the network twice; other methods pay
    one forward pass for each copy (:attr:`Result.num_extra_passes <lit_certattr.certificates.Result>`).

    Nothing is said about the prediction for an image without noise.

    Args:
        alpha: Probability of any false statement about one image, over both sides and all radii.
        sync_on_compute: Use the samples of all processes.

    Raises:
        InputError: If ``alpha`` is not in (0, 1).

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> from lit_certattr.smoothing import Draw
        >>> network, zeros = torch.nn.Flatten(), torch.zeros(1, 1, 2)
        >>> copies = torch.tensor([0.9, 0.1]).expand(100, 1, 1, 2)
        >>> draw = Draw(network, copies, 0, zeros, 0.5, lambda model, images, targets: images[:, 0])
        >>> accumulator = PredictionCertificate(alpha=0.05).start(GaussianNoise(sigma=0.5), (1, 2))
        >>> accumulator.update(MapBlock(draw))
        >>> result = accumulator.compute()
        >>> result.verdict, round(result.radius, 2)
        ('holds', 0.9)

    Reference: Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019,
    theorem 1.
    """

    name = "prediction"
    result = PredictionResult
    laws = VOTE_LAWS
    needs_logits = True
    anytime = True

    def __init__(self, alpha: float = 0.001, sync_on_compute: bool = False) -> None:
        super().__init__(alpha, sync_on_compute)

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "PredictionAccumulator":
        return PredictionAccumulator(self, noise, map_shape, dimension, share)

    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """Fewest samples that show a majority if all of them are predicted as the class.

        Args:
            num_pixels: Pixels of a map; the number does not depend on it.
            share: Share of alpha that the result may err with.
        """
        return fewest(lambda count: float(clopper_pearson_lower(count, count, self.alpha * share / 2)) > 0.5)

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        height, width = map_shape
        return super().fixed(noise, map_shape, dimension, num_samples, share) | {"height": height, "width": width}

    @override
    def measures(self) -> Sequence[Measure]:
        return [NumberMeasure("prediction", _holds), NumberMeasure("prediction_share", _least)]


def _holds(result: PredictionResult, radius: float) -> float:
    """Whether the class is certified to keep its majority; the mean over images is a share of them."""
    return float(result.holds(radius))


def _least(result: PredictionResult, radius: float) -> float:
    """Certified share of the noisy copies that are predicted as the class."""
    return result.interval(radius).low


class PredictionAccumulator(Accumulator[PredictionResult]):
    """How many noisy copies are predicted as the class, and how many as another one."""

    votes: Tensor

    @override
    def allocate(self) -> None:
        self.add_state("votes", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    @override
    def shape_of(self, block: MapBlock) -> tuple[int, ...]:
        return self.map_shape  # no map is needed

    @override
    def invalid(self, block: MapBlock) -> Tensor:
        return (~torch.isfinite(block.draw.logits).all(1)).sum()

    @override
    def count(self, block: MapBlock) -> None:
        self.votes += torch.stack([votes.sum() for votes in class_votes(block.draw.logits, block.draw.target)])

    @override
    def conclude(self, share: float) -> PredictionResult:
        return PredictionResult(votes=self.votes.cpu(), lower=0.0, upper=1.0, **self.record(share)).rederive()
