"""Shared by all tests: one thread (two cost more on small networks), and no run ever asks for a network."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the processes that tests start

import no_network
import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadGroupScheduling

no_network.install()
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("MPLBACKEND", "Agg")

# A busy machine is no failure. CI runs the same examples every time; everyone else looks for new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


class WholeFiles(LoadGroupScheduling):
    """Gives whole files to the workers: the tests of a file share fixtures and networks that are built once a process.

    Tests of one ``xdist_group``, of whatever file, run one after another: those that start processes are
    ``xdist_group("processes")``, lest twice as many processes as cores wait for each other.
    """

    def _split_scope(self, nodeid: str) -> str:
        group: str = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if group == nodeid else group


def pytest_collection_finish() -> None:
    """Modules and collected tests, a million objects, stay: no collection of garbage need look at them again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)  # without the plugin there is nothing to schedule
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WholeFiles | None:
    return WholeFiles(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)  # before fixtures of any scope
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Figures are small, except where they are what is tested."""
    import quick_figures

    full = item.path.parent.name in ("reports", "lit_certattr") or item.get_closest_marker("figures")
    quick_figures.use(not full)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_wandb_run_outlives_its_test() -> Iterator[None]:
    """An open run would be reused by the next logger, and the service keeps the folder in which it started."""
    yield
    if wandb := sys.modules.get("wandb"):
        wandb.finish()
        wandb.teardown()


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The certifier compiles networks without generating code, and the graphs are counted."""
    from quick_compiler import QuickCompiler

    from lit_certattr.models import compiled_network

    torch._dynamo.reset()
    quick = QuickCompiler()
    monkeypatch.setattr(compiled_network, "compiled", quick)
    return quick


@pytest.fixture(scope="session")
def trained_digits() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A network trained in a second on scikit-learn's digits at 16x16, test images, and the classes it predicts."""
    from lit_certattr.data import Digits, SampleSet
    from lit_certattr.models import SmallCNN

    data = Digits()
    data.setup("fit")

    def tensors(samples: SampleSet | None) -> tuple[torch.Tensor, torch.Tensor]:
        assert samples is not None
        images = torch.stack([samples[index][0] for index in range(len(samples))])
        larger = torch.nn.functional.interpolate(images, size=(16, 16), mode="bilinear")
        return larger.clamp(0, 1), torch.tensor(samples.targets)

    (images, labels), (held_out, _) = tensors(data.train_set), tensors(data.test_set)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SmallCNN(image_size=16, width=8, mean=(0.3,), std=(0.35,))
        optimizer = torch.optim.Adam(net.parameters(), 4e-3)
        for _ in range(8):
            for batch in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                noisy = images[batch] + 0.1 * torch.randn_like(images[batch])
                torch.nn.functional.cross_entropy(net(noisy), labels[batch]).backward()
                optimizer.step()
    net.eval().zero_grad()
    with torch.no_grad():
        assert (net(images).argmax(1) == labels).float().mean() > 0.95
        return net, held_out, net(held_out).argmax(1)


@pytest.fixture(scope="session")
def certified() -> Callable[..., list[tuple[Any, ...]]]:
    """Certifies random images of one shape with a random quadratic network."""
    from lit_certattr import Certifier
    from lit_certattr.attribution import Gradient
    from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
    from lit_certattr.smoothing import GaussianNoise

    class Quadratic(torch.nn.Module):
        def __init__(self, pixels: int) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.scale = torch.nn.Parameter(torch.randn(3, pixels, generator=generator))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images.flatten(1)[:, None] + 1).square().mul(self.scale).sum(2)

    def make(
        count: int = 1,
        shape: tuple[int, int, int] = (1, 8, 8),
        top_k: Sequence[float] = (0.5, 0.25),
        num_samples: int = 150,
        names: Sequence[str] = ("pixel", "topk_overlap"),
    ) -> list[tuple[Any, ...]]:
        certificates = {"pixel": PixelCertificate(top_k), "topk_overlap": TopKOverlapCertificate(0.5)}
        certifier = Certifier(
            Gradient(),
            GaussianNoise(0.25),
            {name: certificates[name] for name in names},
            num_samples=num_samples,
            batch_size=50,
        )
        network = Quadratic(shape[0] * shape[1] * shape[2])
        images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))
        ids = [f"image-{index}" for index in range(count)]
        results = certifier(network, images, ids=ids)
        maps = Gradient()(network, images, torch.zeros(count, dtype=torch.long))
        return list(zip(ids, images, results, maps, strict=True))

    return make
