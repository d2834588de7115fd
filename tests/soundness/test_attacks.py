"""The long run of attacks in small: what it judges, what it counts, and that it would find a certificate that lies."""

import json

import attrs
import numpy as np
import pytest
import torch
from scipy.stats import norm

from benchmarks.soundness import exact, trained
from benchmarks.soundness.__main__ import main
from benchmarks.soundness.closed_form import HalfSpaces, Pairs
from benchmarks.soundness.verdicts import Verdict, judge, judge_cosine, judge_overlap, judge_pixels, weaker_means
from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig, PixelVotes, attack_smoothed
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, TopKOverlapCertificate
from lit_certattr.certificates.count_bounds import upper_bounds_of_counts
from lit_certattr.certificates.quantity import Evaluation
from lit_certattr.smoothing import GaussianNoise

SIGMA, PAIRS = 0.25, 6
NOISE = GaussianNoise(SIGMA)


def pairs(votes, seed=0):
    """A network of known votes at an image, with both."""
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.uniform(0.3, 0.7, (1, 2, PAIRS))).float()
    return Pairs.with_votes(image, np.asarray(votes), rng.uniform(0.5, 2, PAIRS), SIGMA), image


# The attacks.


def test_the_gradient_attack_finds_nearly_the_exact_worst_case_and_random_search_does_not():
    """On these maps the vote of a pixel falls by the budget over sigma (in quantiles) and no further."""
    network, image = pairs(np.full(PAIRS, 0.9))
    change = torch.zeros(1, 2, PAIRS, dtype=torch.int)
    change[0, 0, 2] = -1
    config = AttackConfig(eps=0.2, steps=20, clamp=None)
    reached = {}
    for name, search in {"gradient": config, "random": config.random_search()}.items():
        (moved,) = attack_smoothed(
            network,
            Gradient("sum"),
            NOISE,
            image[None],
            torch.tensor([0]),
            PixelVotes(change, PAIRS),
            search,
            draws=16,
            judge_draws=128,
        )
        before, after = norm.ppf(network.votes(image)), norm.ppf(network.votes(moved))
        assert float((moved - image).norm()) <= 0.2
        reached[name] = (before - after)[0, 2] / (0.2 / SIGMA)
    assert 0.9 < reached["gradient"] <= 1 + 1e-6
    assert reached["random"] < 0.8


# The verdicts.


def certified(network, image, certificate, num_samples=500, seed=0, attribution=None):
    run = Certifier(attribution or Gradient("sum"), NOISE, [certificate], num_samples, num_samples, seed)
    return run(network, image[None], [0], ids=["image"])[0][certificate.name]


def test_a_label_is_broken_only_where_most_votes_are_for_the_other_one():
    network, image = pairs([0.95, 0.9, 0.8, 0.1, 0.2, 0.5])
    stored = certified(network, image, PixelCertificate([0.5]))
    fresh = certified(network, image, PixelCertificate([0.5]), seed=1)
    count = int((stored.labels >= 0).sum())
    verdict = judge_pixels(stored, fresh, 0.0, 1e-6)
    assert verdict == Verdict(inside=count)
    flipped = attrs.evolve(stored, labels=torch.where(stored.labels >= 0, 1 - stored.labels, -1).to(torch.int8))
    assert judge_pixels(flipped, fresh, 0.0, 1e-6).violated > count / 2
    far = float(stored.radius.max())
    assert judge_pixels(flipped, fresh, far, 1e-6).violated == 0
    assert judge_pixels(flipped, fresh, far, 1e-6).broken > count / 2
    low = float(stored.radius[stored.radius > 0].min())
    assert judge_pixels(stored, fresh, 0.95 * low, 1e-6).near >= 1


def test_a_vote_that_moved_further_than_any_can_is_seen():
    """At distance r in the worst direction the vote is exactly Neyman and Pearson's; a little further it is less."""
    network, image = pairs(np.full(PAIRS, 0.95))
    stored = certified(network, image, PixelCertificate([0.5]), 20_000)
    direction = torch.zeros_like(image)
    direction[0, :, 0] = torch.tensor([-1.0, 1.0]) / 2**0.5
    fallen = {}
    for length in (0.1, 0.2):
        fresh = certified(network, image + length * direction, PixelCertificate([0.5]), 20_000, seed=1)
        fallen[length] = weaker_means(stored, fresh, 0.1, 1e-6)
    assert fallen == {0.1: 0, 0.2: 2}  # the pair's two pixels


@pytest.mark.parametrize("seed", range(5))
def test_the_overlap_that_fresh_counts_allow_is_that_of_brute_force(seed):
    """Over all corners of the box of bounds."""
    rng = np.random.default_rng(seed)
    maps = HalfSpaces(rng.uniform(0.3, 0.9, 3), SIGMA)
    network, image = exact.TwoValues(), torch.zeros(1, 1, 2)
    stored = certified(network, image, TopKOverlapCertificate(3), attribution=maps)
    fresh = certified(network, image + torch.tensor([0.3, 0.0]), TopKOverlapCertificate(3), 300, 1, maps)
    level, n, most = 0.1, fresh.num_samples, 0
    upper = upper_bounds_of_counts(fresh.votes, n, level / 6).numpy().ravel()
    lower = 1 - upper_bounds_of_counts(n - fresh.votes, n, level / 6).numpy().ravel()
    inside = stored.inside.numpy().ravel()
    for corner in range(2**6):
        values = np.where([corner >> bit & 1 for bit in range(6)], upper, lower)
        top = np.lexsort((~inside, -values))[:3]  # ties to S
        most = max(most, int(inside[top].sum()))
    promised = attrs.evolve(stored, displacement=torch.full((3,), 9.0))  # nothing may ever be displaced
    assert judge_overlap(promised, fresh, 0.3, level).violated == 3 - most
    assert judge_overlap(stored, fresh, 0.3, level).violated == 0


def test_a_cosine_is_broken_where_its_upper_bound_is_below():
    certificate = CosineCertificate(nonnegative=True, num_selection=50)
    accumulator = certificate.start(NOISE, (2, 2))
    accumulator.update(torch.tensor([[[2.0, 1.0], [1.0, 1.0]]]).expand(500, 2, 2))
    stored = accumulator.compute()
    claim = stored.at(0.1)
    assert judge_cosine(stored, claim + 1e-9, 0.1) == Verdict(inside=1, near=1, beyond=2, broken=2)
    assert judge_cosine(stored, claim - 1e-9, 0.1).violated == 1
    products = {"cosine": torch.full((500,), 0.05, dtype=torch.float64)}
    turned = judge("cosine", stored, Evaluation({"cosine": stored}, {"cosine": stored}, products), 0.01, 1e-6)
    assert turned.violated == 1  # a product of 0.05 of maps of norm 1
    unknown = attrs.evolve(stored, projections=stored.projections * 0)
    evaluation = Evaluation({"cosine": unknown}, {"cosine": stored}, products)
    assert judge("cosine", stored, evaluation, 0.01, 1e-6).violated == 0  # nothing is known of one norm


# The run.

SMALL = ["--exact=12", "--digits=4", "--mnist=0", "--batch=2", "--samples=400", "--fresh=400", "--steps=8"]


@pytest.mark.slow
def test_a_small_run_holds_and_its_control_breaks_and_it_goes_on_where_it_stopped(tmp_path, capsys):
    assert main(["run", f"--output={tmp_path}", *SMALL]) == 0
    journal, out = tmp_path / "journal.jsonl", capsys.readouterr().out
    whole = journal.read_bytes()
    lines = whole.decode().splitlines()
    assert [json.loads(line)["name"] for line in lines[1:]] == [f"exact-{i}" for i in range(0, 12, 2)] + [
        "digits-0",
        "digits-2",
    ]
    images, attacked, certified_pixels, _ = json.loads(lines[-1])["outcome"]
    assert images == 2
    assert 0 < attacked <= certified_pixels <= 2 * 3 * 64
    assert "digits: 4 images" in out
    journal.write_text("".join(line + "\n" for line in lines[:-1]) + lines[-1][:50])  # killed while it wrote
    assert main(["run", f"--output={tmp_path}", *SMALL]) == 0
    assert journal.read_bytes() == whole
    with pytest.raises(SystemExit, match="holds another run"):
        main(["run", f"--output={tmp_path}", *SMALL, "--steps=9"])


def promise(certificate, field, factor):
    """A certificate of a multiple of the radius."""

    class Liar(certificate):
        def start(self, *arguments):
            accumulator = super().start(*arguments)
            honest = accumulator.conclude

            def conclude(share):
                result = honest(share)
                return attrs.evolve(result, **{field: factor * getattr(result, field)})

            accumulator.conclude = conclude
            return accumulator

    return Liar


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "field"), [("PixelCertificate", "radius"), ("TopKOverlapCertificate", "displacement")]
)
def test_the_exact_attacks_find_certificates_that_promise_twice_the_radius(tmp_path, monkeypatch, name, field):
    arguments = ["run", f"--output={tmp_path}", "--exact=20", "--digits=0", "--mnist=0"]
    monkeypatch.setattr(exact, name, promise(getattr(exact, name), field, 2))
    assert main(arguments) == 1


@pytest.mark.slow
def test_the_searched_attacks_find_pixels_that_promise_ten_times_the_radius(tmp_path, monkeypatch):
    honest = trained.certificates()
    liar = promise(PixelCertificate, "radius", 10)
    monkeypatch.setattr(trained, "certificates", lambda: honest | {"pixel": liar()})
    assert main(["run", f"--output={tmp_path}", *SMALL, "--exact=0"]) == 1
