"""The presets of attacks: each spends more than the one before, and the documentation says what they are."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.certification import Certifier
from lit_certattr.models import SmallCNN
from lit_certattr.robustness import PRESETS, SandwichAttack
from lit_certattr.smoothing import GaussianNoise

DOCS = Path(__file__).parents[2] / "docs" / "attacks.md"


def certifier(num_samples):
    return Certifier(Gradient(), GaussianNoise(0.3), [PixelCertificate((0.5, 0.25))], num_samples=num_samples)


def attack(name):
    effort = PRESETS[name]
    return SandwichAttack(
        certifier(effort.num_samples(2000, 30)),
        effort.search,
        effort.multiples,
        draws=effort.draws,
        judge_draws=effort.judge_draws,
        random_search=effort.random_search,
    )


@pytest.fixture(scope="module")
def certified():
    torch.manual_seed(0)
    network, images = SmallCNN(image_size=8), torch.rand(1, 1, 8, 8)
    return network, images[0], certifier(100)(network, images)[0]


def test_each_preset_costs_several_times_as_much_as_the_one_before(certified):
    assert list(PRESETS) == ["quick", "standard", "thorough"]
    passes = [attack(name).num_passes(certified[2]) for name in PRESETS]
    assert all(5 * less < more for less, more in pairwise(passes))


def test_the_speed_is_measured_without_a_trace(certified):
    network, image, results = certified
    before, state = image.clone(), {name: value.clone() for name, value in network.state_dict().items()}
    training = network.training
    assert attack("quick").passes_per_second(network, image, results, "one") > 0
    assert image.equal(before)
    assert network.training == training
    assert all(value.equal(state[name]) for name, value in network.state_dict().items())


def test_the_documentation_lists_them():
    text = DOCS.read_text(encoding="utf-8")
    for name, effort in PRESETS.items():
        search = effort.search
        samples = "as in the run" if effort.most_samples is None else f"at most {effort.most_samples:,}"
        cells = [f"{search.steps} x {search.restarts}", effort.draws, effort.judge_draws, samples]
        cells += [", ".join(f"{multiple:g}" for multiple in effort.multiples), "yes" if effort.random_search else "no"]
        assert f"| `{name}` | {' | '.join(map(str, cells))} |" in text
