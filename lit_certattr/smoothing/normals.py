"""Standard normals as a pure function of (seed, image id, sample index)."""

import hashlib
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
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
    r"""Normals by Box and Muller's transform of a counter-based generator, in NumPy.

    Philox-4x64 with the 128-bit key of (seed, image id) and the number of the block as its counter gives 64 bits
    for two normals :math:`\sqrt{-2 \ln u} \, (\cos\theta, \sin\theta)`: 40 bits for the radius, 24 for the angle; in
    float64, 53 bits for each. So :math:`|z| \le 7.5`, and the mass cut off beyond, 6e-14 a coordinate, is out of
    reach of any confidence level; ``torch.randn``'s float32 stops at 5.8, which one in 800 noisy images of 150,528
    coordinates ought to exceed. NumPy computes on one thread, so the number of threads does not matter.
    """

    generator = "philox4x64, box-muller 40+24 bit, numpy, blocks of 8"
    block = 8
    _CHUNK = 1 << 15  # pairs at a time: the scratch space stays in the cache

    def __init__(self, seed: int, image_id: str, device: torch.device) -> None:
        super().__init__(seed, image_id, device)
        self._philox = np.random.Philox(key=self.key)
        self._start = self._philox.state

    def _seek(self, number: int) -> None:
        counter = self._start["state"]["counter"]
        counter[:] = 0
        counter[3] = number  # the most significant word: streams of different blocks are 2**192 draws apart
        self._start["buffer_pos"] = 4  # the buffer of four words is spent
        self._philox.state = self._start

    def _draw_(self, rows: Tensor, number: int) -> None:
        self._seek(number)
        flat = rows.numpy().reshape(-1)
        uniforms = self._uniforms_double if rows.dtype == torch.float64 else self._uniforms_single
        for first in range(0, flat.size, 2 * self._CHUNK):
            part = flat[first : first + 2 * self._CHUNK]
            pairs = -(-part.size // 2)
            radius, angle = uniforms(pairs)
            np.log(radius, out=radius)
            radius *= -2
            np.sqrt(radius, out=radius)
            np.multiply(radius, np.cos(angle), out=part[:pairs])
            odd = part.size - pairs  # one fewer than pairs where the size is odd
            np.multiply(radius[:odd], np.sin(angle[:odd]), out=part[pairs:])

    def _uniforms_single(self, pairs: int) -> tuple[npt.NDArray, npt.NDArray]:
        """Uniforms in (0, 1] and angles in [0, 2 pi), float32."""
        bits = self._philox.random_raw(pairs)
        angle = (bits & np.uint64(0xFFFFFF)).astype(np.uint32).astype(np.float32)
        angle *= np.float32(2 * np.pi / 2**24)
        bits >>= np.uint64(24)
        radius = bits.astype(np.float32)
        radius += np.float32(0.5)
        radius *= np.float32(2.0**-40)
        return radius, angle

    def _uniforms_double(self, pairs: int) -> tuple[npt.NDArray, npt.NDArray]:
        """Uniforms in (0, 1) and angles in [0, 2 pi), float64."""
        bits = (self._philox.random_raw(2 * pairs) >> np.uint64(11)).astype(np.float64)
        return (bits[:pairs] + 0.5) * 2.0**-53, bits[pairs:] * (2 * np.pi * 2.0**-53)


class CUDANormals(NormalStream):
    """Normals of the CUDA generator (Philox-4x32-10): the seed is 63 bits of the key, the offset the block.

    No two blocks of an image share a counter, and 32 samples a kernel keep small networks from waiting on
    launches. Its uniforms have 32 bits, so ``|z| <= 6.7``. The bits depend on the GPU model.
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
