"""Attacks on explanations against random search at equal budget and equally many judged points.

    python -m benchmarks.attacks
    python -m benchmarks.attacks --attribution IntegratedGradients --images 32
    python -m benchmarks.attacks --objective top-k --smooth_beta 1 1
    python -m benchmarks.attacks --attribution IntegratedGradients --images 16 --objective top-k --init zero --no_twin

A small network is trained on MNIST 5k (seconds), then the maps of test images are attacked in l2 and in linf. Each
attack keeps the label and the best of its points by its own criterion. The table, in Markdown: how many points were
judged, and means over the images of top-k intersection, 1-LENS recall, Kendall's tau and shift of the centre of mass
in pixels.
"""

import argparse

import torch
from torch import Tensor, nn

import lit_certattr.attribution as methods
from lit_certattr.attacks import (
    AttackConfig,
    ExplanationObjective,
    MassCentre,
    TargetMap,
    TargetRegion,
    TopKMass,
    attack_explanation,
    distance,
)
from lit_certattr.attacks.config import Norm
from lit_certattr.attribution import Attribution
from lit_certattr.data import MNIST5k, SampleSet
from lit_certattr.metrics.functional import centre_shift, kendall, lens_recall, top_k_intersection
from lit_certattr.models import SmallCNN

K = 100


def tensors(samples: SampleSet | None, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Images and labels of the first samples of a set that was set up."""
    assert samples is not None
    chosen = range(len(samples) if count is None else count)
    return torch.stack([samples[index][0] for index in chosen]), torch.tensor([samples.targets[i] for i in chosen])


def trained(data: MNIST5k, epochs: int) -> nn.Module:
    """A small network, trained on clean images."""
    torch.manual_seed(0)
    images, labels = tensors(data.train_set)
    net = SmallCNN()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
    return net.eval()


def main() -> None:
    """Train, attack, print one line an attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attribution", default="Gradient", help="a class of lit_certattr.attribution")
    parser.add_argument("--objective", help="one of the objectives of the table; default all")
    parser.add_argument("--smooth_beta", type=float, nargs=2, default=(3.0, 30.0), help="first and last sharpness")
    parser.add_argument("--no_twin", action="store_true", help="differentiate the network as it is")
    parser.add_argument("--init", default="uniform", help="where the attack begins")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = MNIST5k()
    data.setup("fit")
    net = trained(data, arguments.epochs)
    images, labels = tensors(data.test_set, arguments.images)
    with torch.no_grad():
        targets = net(images).argmax(1)
    right = float((targets == labels).float().mean())
    print(f"{arguments.attribution}, {arguments.images} images, {right:.1%} right, torch {torch.__version__}\n")
    print("| norm, budget | attack | points | top-k | 1-LENS recall | tau | shift |\n|---|---|---|---|---|---|---|")
    attribution: Attribution = getattr(methods, arguments.attribution)()
    clean = attribution(net, images, targets)
    corner = torch.zeros(28, 28, dtype=torch.bool)
    corner[:10, :10] = True
    objectives: dict[str, ExplanationObjective] = {
        "top-k": TopKMass(K),
        "mass centre": MassCentre(),
        "region": TargetRegion(corner),
        "another map": TargetMap(clean.roll(1, 0), gamma=0.01),
    }

    def line(name: str, objective: ExplanationObjective, config: AttackConfig) -> None:
        found = attack_explanation(net, attribution, images, targets, objective, config)
        assert bool((distance(found, images, config.norm) <= config.eps).all())
        maps = attribution(net, found, targets)
        scores = (
            top_k_intersection(clean, maps, K),
            lens_recall(clean, maps, K, 1),
            kendall(clean, maps),
            centre_shift(clean, maps),
        )
        means = " | ".join(f"{float(values.double().mean()):.3f}" for values in scores)
        print(f"| {config.norm}, {config.eps:g} | {name} | {config.num_points} | {means} |", flush=True)

    budgets: tuple[tuple[Norm, float], ...] = (("l2", 1.0), ("linf", 0.05))
    for norm, eps in budgets:
        twin = None if arguments.no_twin else tuple(arguments.smooth_beta)
        steps = AttackConfig(eps=eps, steps=arguments.steps, norm=norm, init=arguments.init, smooth_beta=twin)
        one = AttackConfig(eps=eps, steps=0, norm=norm, init="boundary", keep="last")
        line("random, one", objectives["top-k"], one)
        for name, objective in objectives.items():
            if arguments.objective not in (None, name):
                continue
            line(f"random for {name}", objective, steps.random_search())
            line(name, objective, steps)


if __name__ == "__main__":
    main()
