"""The LightningModule that certifies attribution maps."""

from collections.abc import Collection, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.certification import NOISY_MAJORITY, Certifier
from lit_certattr.certification.rounds import check_together
from lit_certattr.data import NO_LABEL, Sample
from lit_certattr.errors import InputError
from lit_certattr.modules.image import ImageModule

Targets = Literal["predicted", "label", "noisy_majority"]


def given_targets(targets: Targets, labels: Tensor) -> Tensor | Literal["noisy_majority"] | None:
    """The classes that a :class:`~lit_certattr.certification.Certifier` is given.

    Args:
        targets: The rule.
        labels: Labels of the images.
    """
    if targets == "label":
        return labels
    return NOISY_MAJORITY if targets == NOISY_MAJORITY else None


class CertificationModule(ImageModule):
    """Certifies attribution maps in the predict step of the Trainer, which provides devices, precision and progress.

    Args:
        network: Network from images in [0, 1] to logits; it is frozen and set to eval mode.
        certifier: What is certified, and how.
        targets: The class that is explained: ``"predicted"`` on the clean image, the image's ``"label"``, or the
            ``"noisy_majority"``: the class that most of ``certifier.class_samples`` noisy copies are predicted as.
        skip_ids: Ids of images that are done already.
        together: Whether all processes work on each image together, each with its share of the samples; otherwise each
            process has images of its own. The results have the same bits.

    Attributes:
        skip_ids: Ids of images that are skipped; may be replaced before a run.
        on_block: Called with the number of samples of each finished block, for a progress bar; ``None`` at first.
        interrupted: A batch that ended with an error or was stopped, and the outcomes of its images that were certified
            by then; ``None`` at first.

    Raises:
        InputError: If ``targets`` is none of the three, if a certificate would add the samples of several images, or
            if a stopping rule does not allow ``together``.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.certificates import PixelCertificate
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate()], num_samples=100)
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> module = CertificationModule(net, certifier, skip_ids=["done"])
        >>> batch = Sample(torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), ["done", "new"])
        >>> [(name, sorted(results)) for name, results in module.predict_step(batch, 0)]
        [('new', ['pixel'])]
    """

    doing, done = "certifying", "certified"

    def __init__(
        self,
        network: nn.Module,
        certifier: Certifier,
        targets: Targets = "predicted",
        skip_ids: Collection[str] = (),
        together: bool = False,
    ) -> None:
        super().__init__(network, skip_ids)
        if targets not in get_args(Targets):
            raise InputError(f"targets must be one of {', '.join(get_args(Targets))}, got {targets!r}")
        certifier.check_images_apart()
        if together:
            check_together(certifier.certificates, certifier.stopping)
        self.certifier, self.together = certifier, together
        self.targets: Targets = targets
        self.interrupted: tuple[Sample, list[tuple[str, dict[str, Result]]]] | None = None

    def setup(self, stage: str) -> None:
        """Convert the weights to the memory layout of the noisy images."""
        if self.certifier.memory_format == "channels_last":
            self.network.to(memory_format=torch.channels_last)

    @property
    @override
    def samples_per_image(self) -> int:
        return self.certifier.num_samples

    @property
    @override
    def may_stop_early(self) -> bool:
        return bool(self.certifier.stopping)

    @override
    def samples_of(self, outcome: Mapping[str, Result]) -> int:
        return next(iter(outcome.values())).num_samples

    def predict_step(self, batch: Sample, batch_idx: int) -> list[tuple[str, dict[str, Result]]]:
        """Certify the images of a batch that are not in ``skip_ids``.

        Returns:
            The id of each of them, with its results by name.

        Raises:
            InputError: If labels are to be explained and an image has none, or an image cannot be used.
        """
        chosen = [index for index, image_id in enumerate(batch.id) if image_id not in self.skip_ids]
        if not chosen:
            return []
        labels = torch.as_tensor(batch.target)
        for index in chosen if self.targets == "label" else ():
            if labels[index] == NO_LABEL:
                raise InputError(
                    f"image {batch.id[index]} has no label; set targets: predicted to explain the prediction"
                )
        outcomes: list[tuple[str, dict[str, Result]]] = []
        try:
            for index in chosen:
                one = slice(index, index + 1)
                targets, ids = given_targets(self.targets, labels[one]), list(batch.id[one])
                (results,) = self.certifier(self.network, batch.image[one], targets, ids, self.on_block, self.together)
                outcomes.append((ids[0], results))
        except BaseException:
            self.interrupted = batch, outcomes
            raise
        return outcomes
