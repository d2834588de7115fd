"""Standard normals as a pure function of (seed, image id, sample index)."""

import hashlib
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor


def image_key(seed: int, image_id: str) -> int:
    """128-bit key of the noise of one image: the same on every machine, process and Python version.

    Example:
        >>> image_key(0, "cat") == image_key(0, "cat") != image_key(1, "cat")
        True
    """
    digest = hashlib.blake2b(f"{seed}\x00{image_id}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


class NormalStream(ABC):
    """Random access to the i.i.d. standard normals of one image, one row a sample.

    Row ``i`` depends on the key and on ``i`` alone, so the samples of an image are the same bits for every batch
    size, image order, number of processes and resume point on one kind of device. Rows are independent of each
    other: short seeds that may collide would break the binomial law on which every certificate rests.

    The unit of drawing is a fixed block of samples, not the batch; a batch that is a multiple of the block
    wastes nothing.
    """

    generator: ClassVar[str]
    """Name of the generator, recorded with every certificate."""
    block: ClassVar[int]
    """Samples drawn at once."""

    def __init__(self, seed: int, image_id: str, device: torch.device) -> None:
        self.key = image_key(seed, image_id)
        self.device = device

    @abstractmethod
    def _draw_(self, rows: Tensor, number: int) -> None:
        """Fill ``rows`` ``[block, d]``, contiguous, with the samples of one block."""

    def fill_(self, rows: Tensor, start: int) -> Tensor:
        """Fill ``rows`` ``[b, d]`` (contiguous, on ``self.device``) with samples ``start .. start + b - 1``."""
        stop = start + len(rows)
        for number in range(start // self.block, -(-stop // self.block)):
            first, last = number * self.block, (number + 1) * self.block
            if start <= first and last <= stop:
                self._draw_(rows[first - start : last - start], number)
            else:
                whole = rows.new_empty(self.block, rows.shape[1])
                self._draw_(whole, number)
                low, high = max(first, start), min(last, stop)
                rows[low - start : high - start] = whole[low - first : high - first]
        return rows


class CPUNormals(NormalStream):
    """Normals of torch's CPU generator, whose whole state is keyed afresh for each block.

    Philox-4x64 (key: 128-bit hash of seed and image id; counter: number of the block) fills the 624 words of the
    Mersenne Twister behind ``Tensor.normal_``. ``Generator.manual_seed`` would not do: it keeps 32 bits of its
    seed, so two blocks of one image could share their noise.
    """

    generator = "philox4x64-keyed mt19937, torch cpu normal_, blocks of 8"
    block = 8
    _WORDS = slice(3, 627)  # of the state viewed as int64: seed, left|seeded, next, then 624 words
    _TEMPLATE = torch.Generator().manual_seed(0).get_state()

    def __init__(self, seed: int, image_id: str, device: torch.device) -> None:
        super().__init__(seed, image_id, device)
        self._philox = np.random.Philox(key=self.key)
        self._counter = self._philox.state
        self._state = self._TEMPLATE.clone()
        self._words = self._state.numpy().view(np.uint64)[self._WORDS]
        self._generator = torch.Generator()

    def _seek(self, number: int) -> None:
        inner = self._counter["state"]["counter"]
        inner[:] = 0
        inner[3] = number  # the most significant word: streams of different blocks are 2**192 draws apart
        self._counter["buffer_pos"], self._counter["has_uint32"] = 4, 0
        self._philox.state = self._counter
        self._words[:] = self._philox.random_raw(312).view(np.uint32)
        self._generator.set_state(self._state)

    def _draw_(self, rows: Tensor, number: int) -> None:
        self._seek(number)
        rows.normal_(generator=self._generator)


class CUDANormals(NormalStream):
    """Normals of the CUDA generator (Philox-4x32-10): the seed is 63 bits of the key, the offset the block.

    No two blocks of an image share a counter, and 32 samples a kernel keep small networks from waiting on
    launches. The bits depend on the GPU model.
    """

    generator = "philox4x32-10, torch cuda normal_, blocks of 32"
    block = 32
    _STRIDE = 1 << 20  # counters reserved for a block; each thread of a draw uses far fewer

    def __init__(self, seed: int, image_id: str, device: torch.device) -> None:
        super().__init__(seed, image_id, device)
        self._generator = torch.Generator(device)
        self._generator.manual_seed(self.key & 0x7FFF_FFFF_FFFF_FFFF)

    def _draw_(self, rows: Tensor, number: int) -> None:
        self._generator.set_offset(number * self._STRIDE)
        rows.normal_(generator=self._generator)


def normal_stream(seed: int, image_id: str, device: torch.device | str) -> NormalStream:
    """The stream for a device: CUDA draws its own normals, every other device receives those of the CPU.

    Args:
        seed: Seed of the run.
        image_id: Stable id of the image.
        device: Device of the network. ``"cpu"`` gives noise that can be replayed on any machine of its kind.

    Example:
        >>> stream = normal_stream(0, "cat", "cpu")
        >>> both = stream.fill_(torch.empty(2, 20), start=5)
        >>> bool((both[1:] == stream.fill_(torch.empty(1, 20), start=6)).all())
        True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return CUDANormals(seed, image_id, device)
    return CPUNormals(seed, image_id, torch.device("cpu"))
