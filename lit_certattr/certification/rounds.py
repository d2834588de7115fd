"""One image on several processes, with the bits of one: passes are shared, counting is not.

The samples of an image are evaluated in blocks, and neither the rounding inside the network nor the order of a sum may
depend on how many processes there are. So the blocks are those of a single process. In each round every process
evaluates one block, all exchange their maps, and each counts the blocks of the round in their order. Every accumulator
then sees exactly the blocks that it would see in one process, in the same order, whatever it keeps: counts, sums of
floats, directions that earlier samples choose. Counting is a small part of the work
(``docs/performance.md``), and every process does all of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from lit_certattr.certificates import Accumulator, Certificate, Result
from lit_certattr.certification.sampling import Sampler
from lit_certattr.certification.share import Share
from lit_certattr.certification.stopping import StoppingRule
from lit_certattr.errors import InputError, SharedError, single_line
from lit_certattr.preflight import failures
from lit_certattr.smoothing import Draw, MapBlock, uniform_levels
from lit_certattr.smoothing.evaluated_draw import EvaluatedDraw


def check_together(certificates: Mapping[str, Certificate], stopping: Sequence[StoppingRule]) -> None:
    """Refuse settings with which several processes do not end with the result of one.

    Args:
        certificates: The certificates by name.
        stopping: The stopping rules.

    Raises:
        InputError: If a certificate adds the counts of all processes, or a rule decides by a clock.
    """
    for name, certificate in certificates.items():
        if certificate.sync_on_compute:
            raise InputError(
                f"certificate {name!r} has sync_on_compute=True, but processes that share an image count all its "
                "samples anyway; set sync_on_compute to false"
            )
    for rule in stopping:
        if not rule.repeatable:
            raise InputError(
                f"{type(rule).__name__} stops by a clock, so several processes on one image do not end with the result "
                "of one: use another rule, or --split=images"
            )


def wanted(accumulators: Mapping[str, Accumulator[Result]]) -> list[str]:
    """What certificates ask of a block, in the order in which they ask: ``maps``, ``scores``, ``logits``.

    Args:
        accumulators: The accumulators, in the order in which they count.
    """
    asked = []
    for accumulator in accumulators.values():
        certificate = accumulator.certificate
        asked.append("scores" if certificate.needs_score else "logits" if certificate.needs_logits else "maps")
    return list(dict.fromkeys(asked))


class Rounds:
    """The blocks of an image, each evaluated by one process and given to all.

    Args:
        share: Rank of this process, and number of processes.
        sampler: How samples are drawn and explained.
        model: The network that is certified, in eval mode, with frozen parameters.
        image: Image ``[C, H, W]``.
        target: Class to explain.
        image_id: Id of the image.
    """

    def __init__(
        self, share: Share, sampler: Sampler, model: nn.Module, image: Tensor, target: int, image_id: str
    ) -> None:
        self._share, self._sampler, self._model = share, sampler, model
        self._image, self._target, self._image_id = image, target, image_id

    def __call__(self, start: int, end: int, names: Sequence[str], doing: str) -> Iterator[MapBlock]:
        """The blocks of the samples ``start .. end - 1``, in their order, the same in every process.

        Args:
            start: Index of the first sample.
            end: Index of the last sample plus one.
            names: What to compute of each block, see :func:`wanted`.
            doing: What failed, if it fails; the beginning of a message.

        Yields:
            Blocks of the size that a single process would take.

        Raises:
            InputError: In every process, if the network or the method fails in one of them.
        """
        size, world = self._sampler.block_size(self._image), self._share.world
        firsts = range(start, end, size)
        for turn in (firsts[place : place + world] for place in range(0, len(firsts), world)):
            held: dict[str, Tensor] = {}
            num_extra, failed = 0, None
            if self._share.rank < len(turn):
                first = turn[self._share.rank]
                try:
                    with failures(doing, self._model, self._image[None]):
                        held, num_extra = self._evaluated(self._draw(first, min(first + size, end)), names)
                except InputError as error:  # the others are told before it ends this process
                    failed = error
            for first, (values, extra) in zip(turn, self._exchanged(held, num_extra, failed), strict=False):
                yield self._block(first, min(first + size, end), values, extra)

    def _draw(self, first: int, last: int) -> Draw:
        blocks = self._sampler.blocks(self._model, self._image, self._target, self._image_id, first, last)
        return next(blocks).draw

    @staticmethod
    def _evaluated(draw: Draw, names: Sequence[str]) -> tuple[dict[str, Tensor], int]:
        """What was computed of a block, by name, and how many images passed the network for their logits alone."""
        held = {name: getattr(draw, name) for name in names}
        known = draw.known_logits
        return held if known is None else held | {"logits": known}, draw.num_extra

    def _exchanged(
        self, held: dict[str, Tensor], num_extra: int, failed: InputError | None
    ) -> list[tuple[dict[str, Tensor], int]]:
        """What all processes have evaluated, by rank."""
        shapes = {name: (tuple(value.shape), value.dtype) for name, value in held.items()}
        everywhere: list[Any] = [None] * self._share.world
        distributed.all_gather_object(everywhere, (shapes, num_extra, None if failed is None else single_line(failed)))
        if failed is not None:
            raise SharedError(str(failed)) from failed
        for rank, (_, _, said) in enumerate(everywhere):
            if said is not None:
                raise SharedError(f"process {rank} of {self._share.world} has stopped: {said}")
        return [
            ({name: self._sent(held.get(name), rank, *kind) for name, kind in there.items()}, extra)
            for rank, (there, extra, _) in enumerate(everywhere)
        ]

    def _sent(self, own: Tensor | None, rank: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of one process, in all of them; sent as bytes, which every backend takes."""
        if rank == self._share.rank and own is not None:
            tensor = own.contiguous()
        else:
            tensor = torch.empty(shape, dtype=dtype, device=self._image.device)
        distributed.broadcast(tensor.view(-1).view(torch.uint8), src=rank)
        return tensor

    def _block(self, first: int, last: int, values: dict[str, Tensor], num_extra: int) -> MapBlock:
        draw = EvaluatedDraw(last - first, self._target, values, num_extra, lambda: self._draw(first, last))
        return MapBlock(draw, first, uniform_levels(self._sampler.seed, self._image_id, first, last - first))
