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

    Args:
        seed: Seed of the run.
        image_id: Stable id of the image.

    Example:
        >>> image_key(0, "cat") == image_key(0, "cat") != image_key(1, "cat")
        True
    """
    digest = hashlib.blake2b(f"{seed}\x00{image_id}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def content_id(image: Tensor) -> str:
    """Id of an image that has no name: a hash of its pixels.

    Args:
        image: Tensor of any shape and dtype.

    Example:
        >>> content_id(torch.zeros(1, 2, 2))
        'image-...'
    """
    return (
        "image-"
        + hashlib.blake2b(image.cpu().contiguous().view(torch.uint8).numpy().tobytes(), digest_size=8).hexdigest()
    )


class NormalStream(ABC):
    """Random access to the i.i.d. standard normals of one image, one row per sample.

    Row ``i`` depends on the key and on ``i`` alone, so the samples of an image have the same bits for every batch
    size, image order, number of processes and resume point on one kind of device. Rows are independent of each
    other: short seeds that may collide would break the binomial law on which every certificate rests.

    Normals are drawn in blocks of a fixed number of samples. If the batch size is a multiple of it, no draws are
    wasted.

    Args:
        seed: Seed of the run.
        image_id: Stable id of the image.
        device: Device on which the normals are drawn.
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
        """Fill ``rows`` ``[m * block, d]``, contiguous, with ``m`` whole blocks, beginning with block ``number``."""

    def fill_(self, rows: Tensor, start: int) -> Tensor:
        """Fill ``rows`` ``[b, d]`` (contiguous, on ``self.device``) with samples ``start .. start + b - 1``."""
        stop = start + len(rows)
        first, last = -(-start // self.block), stop // self.block
        if first < last:
            self._draw_(rows[first * self.block - start : last * self.block - start], first)
        for number in {start // self.block, last}:  # blocks of which only a part is wanted
            begin, end = number * self.block, (number + 1) * self.block
            low, high = max(begin, start), min(end, stop)
            if low < high and high - low < self.block:
                whole = rows.new_empty(self.block, rows.shape[1])
                self._draw_(whole, number)
                rows[low - start : high - start] = whole[low - begin : high - begin]
        return rows


class CPUNormals(NormalStream):
    r"""Normals by Box and Muller's transform of a counter-based generator, in NumPy.

    Philox-4x64 with the 128-bit key of (seed, image id) and the number of the block as its counter gives 64 bits
    for two normals :math:`\sqrt{-2 \ln u} \, (\cos\theta, \sin\theta)`: 40 bits for the radius, 24 for the angle; in
    float64, 53 bits for each. So :math:`|z| \le 7.5`, and the probability mass beyond it, 6e-14 per coordinate, is far
    below any confidence level in use; ``torch.randn`` in float32 stops at 5.8, which one in 800 noisy images of 150,528
    coordinates ought to exceed. NumPy computes on one thread, so the number of threads does not matter.

    Args:
        seed: Seed of the run.
        image_id: Stable id of the image.
        device: The CPU.
    """

    generator = "philox4x64, box-muller 40+24 bit, numpy, blocks of 8"
    block = 8
    _CHUNK = 1 << 14  # pairs at a time: the scratch space stays in the cache

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
        blocks = rows.numpy().reshape(len(rows) // self.block, -1)
        size = blocks.shape[1]
        together = max(1, 2 * self._CHUNK // size)  # small blocks are transformed together, large ones in chunks
        for first in range(0, len(blocks), together):
            group = blocks[first : first + together]
            for begin in range(0, size, 2 * self._CHUNK):
                part = group[:, begin : begin + 2 * self._CHUNK]
                self._box_muller(part, number + first, begin == 0)

    def _box_muller(self, part: npt.NDArray, number: int, from_the_start: bool) -> None:
        """Fill the same columns of consecutive blocks; after the first columns, the stream of one block continues."""
        pairs = -(-part.shape[1] // 2)
        double = part.dtype == np.float64
        bits = np.empty((len(part), pairs * (2 if double else 1)), np.uint64)
        for row, words in enumerate(bits):
            if from_the_start:
                self._seek(number + row)
            words[:] = self._philox.random_raw(words.size)
        radius, angle = _uniforms_double(bits) if double else _uniforms_single(bits)
        np.log(radius, out=radius)
        radius *= -2
        np.sqrt(radius, out=radius)
        np.multiply(radius, np.cos(angle), out=part[:, :pairs])
        odd = part.shape[1] - pairs  # one fewer than pairs where the number of columns is odd
        np.multiply(radius[:, :odd], np.sin(angle[:, :odd]), out=part[:, pairs:])


def _uniforms_single(bits: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
    """Uniforms in (0, 1] and angles in [0, 2 pi), float32, from one word each; overwrites the words."""
    angle = (bits & np.uint64(0xFFFFFF)).astype(np.uint32).astype(np.float32)
    angle *= np.float32(2 * np.pi / 2**24)
    bits >>= np.uint64(24)
    radius = bits.astype(np.float32)
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-40)
    return radius, angle


def _uniforms_double(bits: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
    """Uniforms in (0, 1) and angles in [0, 2 pi), float64, from two words each."""
    high = (bits >> np.uint64(11)).astype(np.float64)
    pairs = bits.shape[1] // 2
    return (high[:, :pairs] + 0.5) * 2.0**-53, high[:, pairs:] * (2 * np.pi * 2.0**-53)


class CUDANormals(NormalStream):
    """Normals of the CUDA generator (Philox-4x32-10): the seed is 63 bits of the key, the offset the block.

    No two blocks of an image share a counter. Each kernel draws 32 samples, so that small networks do not wait for
    kernel launches. Its uniforms have 32 bits, so ``|z| <= 6.7``. The bits depend on the GPU model.

    Args:
        seed: Seed of the run.
        image_id: Stable id of the image.
        device: A CUDA device.
    """

    generator = "philox4x32-10, torch cuda normal_, blocks of 32"
    block = 32
    _STRIDE = 1 << 20  # counters reserved for a block; each thread of a draw uses far fewer

    def __init__(self, seed: int, image_id: str, device: torch.device) -> None:
        super().__init__(seed, image_id, device)
        self._generator = torch.Generator(device)
        self._generator.manual_seed(self.key & 0x7FFF_FFFF_FFFF_FFFF)

    def _draw_(self, rows: Tensor, number: int) -> None:
        for block, whole in enumerate(rows.split(self.block)):
            self._generator.set_offset((number + block) * self._STRIDE)
            whole.normal_(generator=self._generator)


def few_normals(key: int, start: int, count: int, size: int) -> npt.NDArray[np.float64]:
    """A few more standard normals of each sample, independent of those of its stream; the same on every device.

    Args:
        key: Key of the image (:func:`image_key`).
        start: Index of the first sample.
        count: Number of samples.
        size: Normals of each sample.

    Returns:
        Float64 ``[count, size]``; row ``i`` depends on the key and on ``start + i`` alone.
    """
    pairs = -(-size // 2)
    bits = np.empty((count, 2 * pairs), np.uint64)
    philox = np.random.Philox(key=key)  # one for all samples: to make one takes far longer than to draw from it
    state = philox.state
    counter = state["state"]["counter"]
    for row, words in enumerate(bits):
        # The second word of the counter keeps these apart: the streams use 0, noise on a grid uses 1.
        counter[:] = 0, 2, 0, start + row
        philox.state = state
        words[:] = philox.random_raw(words.size)
    radius, angle = _uniforms_double(bits)
    radius = np.sqrt(-2 * np.log(radius))
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :size]


def normal_stream(seed: int, image_id: str, device: torch.device | str) -> NormalStream:
    """The stream for a device: CUDA draws its own normals, every other device gets normals drawn on the CPU.

    Args:
        seed: Seed of the run.
        image_id: Stable id of the image.
        device: Device of the network. ``"cpu"`` gives noise that can be reproduced on any CPU of
            the same kind.

    Example:
        >>> stream = normal_stream(0, "cat", "cpu")
        >>> both = stream.fill_(torch.empty(2, 20), start=5)
        >>> bool((both[1:] == stream.fill_(torch.empty(1, 20), start=6)).all())
        True
    """
    device = torch.device(device)
    return stream_of(device.type)(seed, image_id, device if device.type == "cuda" else torch.device("cpu"))


def stream_of(device: str) -> type[NormalStream]:
    """The class of the stream for a type of device.

    Args:
        device: Type of a device, e.g. ``"cuda"``.

    Returns:
        The class of the stream; the machine need not have such a device.
    """
    return CUDANormals if device == "cuda" else CPUNormals
