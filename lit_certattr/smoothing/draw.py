"""The noisy images of one block and what certificates need of them, each computed on first use."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.smoothing.logits import LogitsRecord, predict

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Draw:
    """The noisy images of a block: their maps, their scores, and the noise itself.

    The network runs only for what a certificate asks for. Use a draw before the next block is drawn: that may overwrite
    the images.

    Args:
        model: Network in eval mode, with frozen parameters.
        images: Noisy images ``[b, C, H, W]``.
        target: Class that is explained.
        clean: The image without noise, ``[C, H, W]``.
        sigma: Standard deviation of the noise.
        explain: Computes maps ``[b, H, W]`` from network, images and targets.
        score: Computes scores ``[b]`` in [0, 1], of which the maps are the gradient, from the same arguments; ``None``
            if the method is not the gradient of such a score.
        predict: Computes logits ``[b, num_classes]`` from the same arguments, where maps and scores did not need them.

    Attributes:
        target: Class that is explained.
        num_extra: How many images have passed the network for their logits alone.

    Example:
        >>> network, zeros = nn.Flatten(), torch.zeros(1, 1, 2)
        >>> draw = Draw(network, zeros[None] + 0.5, 0, zeros, 0.25, lambda model, images, targets: images[:, 0])
        >>> draw.maps.tolist(), draw.noise.tolist()
        ([[[0.5, 0.5]]], [[[[2.0, 2.0]]]])
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        target: int,
        clean: Tensor,
        sigma: float,
        explain: Explain,
        score: Explain | None = None,
        predict: Explain = predict,
    ) -> None:
        self.model, self.images, self.clean, self.sigma = model, images, clean, sigma
        self.explain, self.score, self.predict = explain, score, predict
        self.target, self.num_extra = target, 0
        self._record = LogitsRecord(model, images)
        self.targets = torch.full((len(images),), target, device=images.device)

    def __len__(self) -> int:
        return len(self.images)

    def alone(self, index: int) -> "Draw":
        """A draw of one of the noisy images alone, with a copy of that image.

        Args:
            index: Index of the image, from 0 to ``len(self) - 1``.
        """
        image = self.images[index : index + 1].clone()
        rest = self.clean, self.sigma, self.explain, self.score, self.predict
        return Draw(self.model, image, self.target, *rest)

    @property
    def evaluated(self) -> list[str]:
        """Which of ``maps``, ``scores`` and ``logits`` have been computed already."""
        return [name for name in ("maps", "scores", "logits") if name in vars(self)]

    @cached_property
    def maps(self) -> Tensor:
        """Attribution maps ``[b, H, W]``, detached."""
        with self._record:
            return self.explain(self.model, self.images, self.targets).detach()

    @cached_property
    def scores(self) -> Tensor:
        """Scores ``[b]`` in [0, 1], float64; NaN for a score that lies outside by more than rounding.

        Raises:
            InputError: If the attribution method is not the gradient of a score.
        """
        if self.score is None:
            raise InputError("the attribution method is not the gradient of a score in [0, 1]; use ProbabilityGradient")
        with torch.no_grad(), self._record:
            scores = self.score(self.model, self.images, self.targets)
            inside = scores.double().clamp(0, 1)
            return torch.where((scores - inside).abs() <= 64 * torch.finfo(scores.dtype).eps, inside, torch.nan)

    @cached_property
    def logits(self) -> Tensor:
        """Logits ``[b, num_classes]``: those of the passes for maps or scores, else of a forward pass of their own.

        Ask for them after the maps and the scores.
        """
        known = self._record.logits
        return self.predict_first(len(self)) if known is None else known

    @property
    def known_logits(self) -> Tensor | None:
        """The logits, if no pass is needed for them any more; ``None`` if one is."""
        if "logits" not in vars(self):
            if (known := self._record.logits) is None:
                return None
            vars(self)["logits"] = known
        return self.logits

    def predict_first(self, count: int) -> Tensor:
        """Logits ``[count, num_classes]`` of the first images, from a forward pass of their own.

        Args:
            count: Number of images.
        """
        self.num_extra += count
        return self.predict(self.model, self.images[:count], self.targets[:count]).detach()

    @cached_property
    def noise(self) -> Tensor:
        """The noise in units of sigma, float64 ``[b, C, H, W]``, as the network has received it.

        It is computed from the rounded images, so it differs from the noise drawn by their rounding
        (:func:`~lit_certattr.certificates.smoothgrad_bounds.noise_rounding`).

        Raises:
            InputError: In half precision, in which the images are rounded too coarsely to recover the noise.
        """
        if self.images.element_size() < 4:
            raise InputError(f"noise cannot be recovered from {self.images.dtype} images; set precision to 32-true")
        return (self.images.double() - self.clean.double()) / self.sigma
