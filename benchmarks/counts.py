"""Votes of real maps at every 64th sample, drawn once and kept: what other numbers of samples would have given."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.networks import SIGMA, network_and_data
from lit_certattr.attribution import Gradient, frozen
from lit_certattr.smoothing import GaussianNoise, MapBlock, noisy_maps, top_k_size

EVERY = 64
LEVELS = (0.5, 0.25, 0.2, 0.1, 0.05, 0.02)


class Counts(NamedTuple):
    """Votes of one image.

    Attributes:
        votes: Integers ``[T, K, H, W]``: votes of the first 64, 128, ... samples at the levels ``LEVELS``.
        num_constant: Constant maps among all samples.
    """

    votes: npt.NDArray[np.int32]
    num_constant: int

    def at(self, num_samples: int, level: float) -> torch.Tensor:
        """Votes ``[H, W]`` of the first ``num_samples`` samples, a multiple of 64, or 0, at a level of ``LEVELS``."""
        index, rest = divmod(num_samples, EVERY)
        if rest or index > len(self.votes):
            raise ValueError(f"num_samples must be a multiple of {EVERY} up to {EVERY * len(self.votes)}")
        votes = self.votes[index - 1, LEVELS.index(level)] if index else np.zeros_like(self.votes[0, 0])
        return torch.from_numpy(votes.astype(np.int32))


def counts(data: str, num_images: int, num_samples: int, cache: Path) -> list[Counts]:
    """Votes of the first images of a data set, from the cache where they are there; images are saved one by one.

    Args:
        data: ``"photographs"`` or ``"mnist5k"``.
        num_images: How many images.
        num_samples: Samples an image, a multiple of 64.
        cache: Folder to keep the votes in.
    """
    cache.mkdir(parents=True, exist_ok=True)
    files = [cache / f"{data}-{index}-{num_samples}.npz" for index in range(num_images)]
    if not all(file.exists() for file in files):
        network, module, batch_size = network_and_data(data)
        module.setup("predict")
        for index, file in enumerate(files):
            if not file.exists():
                image, _, image_id = module.predict_set[index]
                with torch.no_grad(), frozen(network):
                    votes, constant = _draw(network, image, str(image_id), num_samples, batch_size)
                partial = file.with_suffix(".partial.npz")
                np.savez(partial, votes=votes, num_constant=constant)
                partial.replace(file)
                print(f"{image_id}: {num_samples:,} samples drawn", flush=True)
    found = []
    for file in files:
        with np.load(file) as stored:
            found.append(Counts(stored["votes"], int(stored["num_constant"])))
    return found


def _draw(
    network: torch.nn.Module, image: torch.Tensor, image_id: str, num_samples: int, batch_size: int
) -> tuple[npt.NDArray[np.int16], int]:
    """Votes ``[T, K, H, W]`` so far at every 64th sample, and the number of constant maps."""
    if num_samples % EVERY or num_samples >= 2**15:
        raise ValueError(f"num_samples must be a multiple of {EVERY} below 32,768")
    target = int(network(image[None]).argmax())
    sizes = [top_k_size(level, image[0].numel()) for level in LEVELS]
    steps, total, constant, drawn = [], torch.zeros(1, dtype=torch.int32), 0, 0
    for maps in noisy_maps(
        network,
        Gradient(),
        GaussianNoise(SIGMA),
        image,
        target,
        image_id=image_id,
        num_samples=num_samples,
        batch_size=min(batch_size, EVERY),
    ):
        block = MapBlock(maps)
        total = total + block.count(sizes)[0]
        constant += int(block.num_constant)
        drawn += len(block)
        if drawn % EVERY == 0:
            steps.append(total.numpy().astype(np.int16))
    return np.stack(steps), constant
