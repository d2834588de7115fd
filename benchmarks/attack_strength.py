"""Our attack on predictions against the strongest of foolbox, ART and torchattacks, at equal passes.

    python -m benchmarks.attack_strength
    python -m benchmarks.attack_strength --peers DIRECTORY    # into which the peers were installed before

Three small networks are trained on MNIST 5k (a minute): plainly, and adversarially in l2 and in linf. Each is attacked
in both norms. The peers are installed with pip, without their dependencies, into a temporary directory that is deleted
at the end; torch, NumPy and the rest are those of this environment.

A pass is one forward and one backward pass of an image, and no attack may use more than ``--passes``. The table, in
Markdown: robust accuracy, lower is stronger, of our attack with each number of restarts, and of the strongest peers.
All points are judged here, by the network itself, and count only within the budget (to a relative 1e-4) and the box.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.attacks import tensors
from lit_certattr.attacks import AttackConfig, attack_prediction, distance
from lit_certattr.attacks.config import Norm
from lit_certattr.data import MNIST5k
from lit_certattr.models import SmallCNN
from lit_certattr.objectives import AdversarialTraining, CrossEntropy, Objective

PEERS: tuple[str, ...] = ("foolbox==3.3.4", "eagerpy==0.30.0", "GitPython", "gitdb", "smmap", "torchattacks==3.5.1")
PEERS += ("adversarial-robustness-toolbox==1.20.1", "six")
TRAINED: dict[str, tuple[Objective, int]] = {
    "plain": (CrossEntropy(), 4),
    "trained in l2": (AdversarialTraining(AttackConfig(eps=2.0, steps=5)), 12),
    "trained in linf": (AdversarialTraining(AttackConfig(eps=0.2, steps=7, step_size=0.05, norm="linf")), 12),
}
BUDGETS: list[tuple[str, Norm, float]] = [
    ("plain", "l2", 1.0),
    ("plain", "l2", 2.0),
    ("plain", "linf", 0.08),
    ("trained in l2", "l2", 2.0),
    ("trained in l2", "linf", 0.12),
    ("trained in linf", "l2", 1.5),
    ("trained in linf", "linf", 0.2),
]
RESTARTS = {20: (1,), 100: (1, 2, 4)}
Attack = Callable[[], Tensor]


class Counted(nn.Module):
    """Counts the images that were passed forward to be differentiated."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.passes = network, 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        self.passes += len(images) * (torch.is_grad_enabled() and images.requires_grad)
        logits: Tensor = self.network(images)
        return logits


def trained(objective: Objective, epochs: int, images: Tensor, labels: Tensor) -> nn.Module:
    """A small network."""
    torch.manual_seed(0)
    network = SmallCNN(width=16)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            objective(network, images[batch], labels[batch])[0].backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def torchattacks_peers(
    network: nn.Module, images: Tensor, labels: Tensor, norm: Norm, eps: float, passes: int
) -> Iterator[tuple[str, Attack]]:
    """APGD with both losses, and APGD-T with its passes shared by 1, 3 or 9 wrong classes."""
    import torchattacks

    settings: dict[str, Any] = {"norm": "L2" if norm == "l2" else "Linf", "eps": eps}
    for loss in ("ce", "dlr"):
        attack = torchattacks.APGD(network, **settings, steps=passes - 1, loss=loss)
        yield f"torchattacks APGD-{loss.upper()}", partial(attack, images, labels)
    for targets in (1, 3, 9):
        if passes // targets >= 5:
            attack = torchattacks.APGDT(network, **settings, steps=passes // targets - 1)
            attack.n_target_classes = targets
            yield f"torchattacks APGD-T, {targets} of the wrong classes", partial(attack, images, labels)


def foolbox_peers(
    network: nn.Module, images: Tensor, labels: Tensor, norm: Norm, eps: float, passes: int
) -> Iterator[tuple[str, Attack]]:
    """PGD with its own and with our length of a step, and the attacks that look for the smallest perturbation."""
    import foolbox

    def found_by(attack: Callable[..., Any]) -> Tensor:
        found: Tensor = attack(peer, images.clone(), labels.clone(), epsilons=eps)[1]
        return found

    peer, attacks = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu"), foolbox.attacks
    known: dict[str, dict[str, Any]] = {
        "even steps": {"steps": passes, "rel_stepsize": 2.5 / passes},
        "own steps": {"steps": passes},
    }
    chosen = (
        {f"PGD, {name}": attacks.L2PGD(**steps) for name, steps in known.items()}
        | {"DDN": attacks.DDNAttack(steps=passes), "FMN": attacks.L2FMNAttack(steps=passes)}
        if norm == "l2"
        else {f"PGD, {name}": attacks.LinfPGD(**steps) for name, steps in known.items()}
        | {"FMN": attacks.LInfFMNAttack(steps=passes)}
    )
    for name, attack in chosen.items():
        yield f"foolbox {name}", partial(found_by, attack)


def art_peers(
    network: nn.Module, images: Tensor, labels: Tensor, norm: Norm, eps: float, passes: int
) -> Iterator[tuple[str, Attack]]:
    """APGD with both losses, and PGD."""
    from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    def found_by(attack: Any) -> Tensor:
        return torch.as_tensor(attack.generate(images.numpy(), labels.numpy()))

    peer = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), images.shape[1:], 10, clip_values=(0, 1), device_type="cpu"
    )
    settings: dict[str, Any] = {
        "norm": 2 if norm == "l2" else np.inf,
        "eps": eps,
        "max_iter": passes,
        "batch_size": len(images),
    }
    attacks = {
        f"APGD-{name}": AutoProjectedGradientDescent(
            peer, **settings, eps_step=2 * eps, nb_random_init=1, loss_type=loss, verbose=False
        )
        for name, loss in (("CE", "cross_entropy"), ("DLR", "difference_logits_ratio"))
    } | {"PGD": ProjectedGradientDescent(peer, **settings, eps_step=2.5 * eps / passes, verbose=False)}
    for name, attack in attacks.items():
        yield f"ART {name}", partial(found_by, attack)


def robust_accuracy(
    network: Counted, attack: Attack, images: Tensor, labels: Tensor, norm: Norm, eps: float, passes: int
) -> float:
    """The share of images that are classified right, and stay so."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what ART draws from
    network.passes = 0
    found = attack().float()
    assert network.passes <= passes * len(images), f"{network.passes / len(images)} passes per image"
    with torch.no_grad():
        right, stays = (network.network(points).argmax(1) == labels for points in (images, found.clamp(0, 1)))
    outside = distance(found.clamp(0, 1), images, norm) > eps * (1 + 1e-4)
    return float((right & (stays | outside)).float().mean())


def compare(arguments: argparse.Namespace) -> None:
    """Train, attack, print one line per network, budget and number of passes."""
    data = MNIST5k()
    data.setup("fit")
    images, labels = tensors(data.test_set, arguments.images)
    networks = {name: Counted(trained(*how, *tensors(data.train_set))).eval() for name, how in TRAINED.items()}
    print(f"{len(images)} images, torch {torch.__version__}, {', '.join(PEERS)}\n")
    print("| network | budget | passes | ours | best peer | which |\n|---|---|---|---|---|---|")
    for passes in arguments.passes:
        for name, norm, eps in BUDGETS:
            network = networks[name]
            case = (images, labels, norm, eps, passes)
            judge = partial(robust_accuracy, network, images=images, labels=labels, norm=norm, eps=eps, passes=passes)
            ours = []
            for restarts in RESTARTS.get(passes, (1,)):
                config = AttackConfig(eps=eps, steps=passes // restarts, restarts=restarts, norm=norm)
                reached = judge(partial(attack_prediction, network, images, labels, config))
                ours.append(f"{reached:.3f} ({passes // restarts} x {restarts})")
            reached_by = {
                peer: judge(attack)
                for peers in (torchattacks_peers, foolbox_peers, art_peers)
                for peer, attack in peers(network, *case)
            }
            best = min(reached_by.values())
            which = "; ".join(peer for peer, value in reached_by.items() if value == best)
            print(f"| {name} | {norm} {eps:g} | {passes} | {', '.join(ours)} | {best:.3f} | {which} |", flush=True)


def main() -> None:
    """Install the peers where no directory is given, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="directory of the installed peers; default: a temporary one")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--passes", type=int, nargs="+", default=[20, 100])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        if arguments.peers is None:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", directory, *PEERS]
            subprocess.run(install, check=True)
        sys.path.append(arguments.peers or directory)
        compare(arguments)


if __name__ == "__main__":
    main()
