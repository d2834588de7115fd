"""Run by a test: metrics of three images, spread unevenly over two processes, against one process."""

import json
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any

import torch
from torch import Tensor, multiprocessing
from torch.multiprocessing.spawn import start_processes

from lit_certattr.certificates import Certificate, PixelCertificate, TopKOverlapCertificate
from lit_certattr.metrics import LENS, CertifiedOneShare, CertifiedOverlapCurve, LENSRecallCurve, MapSpearman
from lit_certattr.smoothing import GaussianNoise


def certified(certificate: Certificate, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    accumulator = certificate.start(GaussianNoise(0.25), (6, 8))
    maps = 3 * torch.rand(1, 6, 8, generator=generator) + torch.randn(200, 6, 8, generator=generator)
    accumulator.update(maps)
    return accumulator.compute()


def maps(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(1, 8, 9, generator=generator)
    return clean, clean + torch.rand(1, 8, 9, generator=generator)


def values(mine: Iterable[int]) -> list[float]:
    """All metrics over the images numbered ``mine``."""
    share, curve = CertifiedOneShare(0.05), CertifiedOverlapCurve([0.0, 0.05, 0.1])
    share.update([certified(PixelCertificate(top_k=[0.25], alpha=0.05), seed) for seed in mine])
    curve.update([certified(TopKOverlapCertificate(top_k=0.25, alpha=0.05), seed) for seed in mine if seed == 0])
    lens, recall, rank = LENS(6, [1, 2]), LENSRecallCurve([3, 6, 12]), MapSpearman()
    for metric in (lens, recall, rank):
        for seed in mine:
            metric.update(*maps(seed))
    pairs = [*(value.item() for value in lens.compute().values()), *recall.compute().tolist(), rank.compute().item()]
    return [share.compute().item(), *curve.compute().tolist(), *pairs]


def worker(rank: int, address: str, found: MutableMapping[int, list[float]]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    found[rank] = values(range(rank, 3, 2))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        found = manager.dict()
        start_processes(worker, (f"file://{sys.argv[1]}", found), nprocs=2, start_method="fork")
        print(json.dumps({"one": values(range(3)), "two": [found[0], found[1]]}))
