"""The samples of an image: noisy copies, and their maps, block by block."""

from collections.abc import Iterator
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution, score_of
from lit_certattr.attribution.batching import starting_batch, tiled
from lit_certattr.smoothing import Draw, MapBlock, Noise, noisy_images, uniform_levels
from lit_certattr.smoothing.draw import Explain
from lit_certattr.smoothing.logits import predict

MemoryFormat = Literal["channels_last", "contiguous"]


@attrs.frozen
class Sampler:
    """How the samples of an image are drawn and explained; each is a function of (seed, image id, sample index).

    Attributes:
        attribution: The attribution method.
        noise: Noise law.
        batch_size: Samples evaluated at once; ``"auto"`` finds a number that fits into memory.
        seed: Seed of the noise.
        memory_format: Layout of the noisy images.
    """

    attribution: Attribution
    noise: Noise
    batch_size: int | Literal["auto"]
    seed: int
    memory_format: MemoryFormat

    def block_size(self, image: Tensor) -> int:
        """Number of samples per block.

        Args:
            image: Image ``[C, H, W]``, on its device.
        """
        return starting_batch(image.shape, image.device) if self.batch_size == "auto" else self.batch_size

    def noisy_images(self, image: Tensor, image_id: str, start: int, end: int) -> Iterator[Tensor]:
        """The noisy copies ``start .. end - 1`` of an image, in one buffer that is reused.

        Args:
            image: Image ``[C, H, W]``.
            image_id: Id of the image.
            start: Index of the first sample.
            end: Index of the last sample plus one.

        Returns:
            Blocks ``[b, C, H, W]`` of at most :meth:`block_size` samples.
        """
        return noisy_images(
            image,
            self.noise,
            image_id=image_id,
            num_samples=end - start,
            batch_size=self.block_size(image),
            seed=self.seed,
            start=start,
            memory_format=torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format,
        )

    def blocks(
        self, model: nn.Module, image: Tensor, target: int, image_id: str, start: int, end: int
    ) -> Iterator[MapBlock]:
        """The samples ``start .. end - 1`` of one image, in blocks that all certificates share.

        Args:
            model: The network that is certified, in eval mode, with frozen parameters.
            image: Image ``[C, H, W]``.
            target: Class to explain.
            image_id: Id of the image.
            start: Index of the first sample.
            end: Index of the last sample plus one.

        Yields:
            Blocks of at most :meth:`block_size` maps.
        """
        attribution, hook = self._what_fits(self.attribution), score_of(self.attribution)
        score = None if hook is None else self._what_fits(hook)
        for images in self.noisy_images(image, image_id, start, end):
            draw = Draw(model, images, target, image, self.noise.sigma, attribution, score, self._what_fits(predict))
            yield MapBlock(draw, start, uniform_levels(self.seed, image_id, start, len(images)))
            start += len(images)

    def predict(self, model: nn.Module, images: Tensor) -> Tensor:
        """Logits ``[b, num_classes]`` of noisy copies, from a forward pass of their own, without a graph.

        Args:
            model: The network that is certified, in eval mode.
            images: Images ``[b, C, H, W]``.
        """
        return self._what_fits(predict)(model, images, torch.zeros(len(images), dtype=torch.int64))

    def _what_fits(self, function: Explain) -> Explain:
        """The function itself; with ``batch_size="auto"``, applied to parts of a batch that fit into memory."""
        if self.batch_size != "auto":
            return function

        def in_parts(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
            parts: list[Tensor] = []

            def add(rows: slice, _: slice) -> None:
                parts.append(function(model, images[rows], targets[rows]))

            tiled(add, len(images), 1, model=model, images=images)
            return torch.cat(parts)

        return in_parts
