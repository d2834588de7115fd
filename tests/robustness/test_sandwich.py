import pytest
import torch

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, TopKOverlapCertificate
from lit_certattr.errors import InputError
from lit_certattr.robustness import SandwichAttack
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, NuisanceNoise, UniformBallNoise

BUDGETS = (0.05, 0.2, 0.8)
CONFIG = AttackConfig(eps=1.0, steps=12, smooth_beta=5.0)


def certifier(noise, certificates, seed):
    return Certifier(Gradient(), noise, certificates, num_samples=600, batch_size=200, seed=seed)


def masks():
    return [PixelCertificate(top_k=(0.4, 0.2)), TopKOverlapCertificate(0.2)]


CASES = {
    "masks": (GaussianNoise(0.15), masks),
    "integers": (DiscreteGaussianNoise(0.15), masks),
    "nuisances": (NuisanceNoise(0.15, brightness=0.1), masks),
    "cosine": (UniformBallNoise(0.15), lambda: [CosineCertificate(nonnegative=True)]),
}


@pytest.fixture(scope="module", params=list(CASES))
def sandwich(request, trained_digits):
    noise, certificates = CASES[request.param]
    net, images, targets = trained_digits
    images = (images[:1] * 255).round() / 255
    results = certifier(noise, certificates(), 0)(net, images, targets[:1], ["digit"])[0]
    attack = SandwichAttack(certifier(noise, certificates(), 1), CONFIG, BUDGETS, judge_draws=32, random_search=True)
    passes = []
    made = attack(net, images[0], results, "digit", 0.001, passes.append)
    assert sum(passes) == attack.num_passes(results)
    return net, images[0], results, attack, made


@pytest.mark.slow
def test_certified_never_exceeds_attacked(sandwich):
    _, _, _, _, made = sandwich
    for row in made.rows:
        assert row["contradicted"] == 0
        assert row["certified"] <= row["attacked_upper"]
        assert row["attacked"] <= row["attacked_upper"]
        assert row["gap"] == pytest.approx(row["attacked_upper"] - row["certified"])


def test_larger_budgets_leave_less_and_a_large_one_breaks_something(sandwich):
    _, _, _, _, made = sandwich
    series = {}
    for row in made.rows:
        series.setdefault((row["quantity"], row["level"]), []).append(row)
    for rows in series.values():
        assert [row["budget"] for row in rows] == [0.0, *BUDGETS]
        for key in ("certified", "attacked_upper"):
            values = [row[key] for row in rows]
            assert values == sorted(values, reverse=True)
        assert rows[-1]["attacked"] < rows[0]["attacked"]
        assert rows[-1]["attacked_upper"] < rows[0]["attacked_upper"], "beyond doubt"
        assert rows[-1]["attacked"] < rows[-1]["random"]
        assert "random" not in rows[-1]["attack"]


def test_perturbations_are_within_their_budgets(sandwich):
    _, image, _, attack, made = sandwich
    assert len(made.candidates) == len(made.images)
    assert torch.equal(made.images[0], image)
    for one, point in zip(made.candidates, made.images, strict=True):
        length = attack.certifier.noise.budget.length(image, point)
        assert length == pytest.approx(one.length)
        assert one.length <= one.budget
        assert point.min() >= 0
        assert point.max() <= 1
        if one.budget:
            attack.certifier.noise.check(point, "found")


@pytest.mark.slow
def test_repeats_itself_and_leaves_everything_as_found(sandwich):
    net, image, results, attack, made = sandwich
    state = torch.get_rng_state()
    again = attack(net, image, results, "digit", 0.001)
    assert torch.equal(again.images, made.images)
    assert again.rows == made.rows
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_keeps_the_label(trained_digits):
    net, images, targets = trained_digits
    results = certifier(GaussianNoise(0.15), [TopKOverlapCertificate(0.2)], 0)(net, images[:1], targets[:1], ["a"])[0]
    settings = {"judge_draws": 16, "keep_label": True}
    attack = SandwichAttack(certifier(GaussianNoise(0.15), [TopKOverlapCertificate(0.2)], 1), CONFIG, [4.0], **settings)
    found = attack(net, images[0], results, "a", 0.001).images
    assert (net(found).argmax(1) == targets[0]).all()


def test_processes_attack_different_images():
    shared = [TopKOverlapCertificate(0.2, sync_on_compute=True)]
    with pytest.raises(InputError, match="sync_on_compute"):
        SandwichAttack(certifier(GaussianNoise(0.1), shared, 1), CONFIG, BUDGETS)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"budgets": []}, "budgets"),
        ({"budgets": [0.1, -1.0]}, "budgets"),
        ({"budgets": [float("inf")]}, "budgets"),
        ({"config": AttackConfig(eps=0.1, norm="linf")}, "l2"),
        ({"draws": 0}, "draws"),
        ({"judge_draws": 0}, "draws"),
    ],
)
def test_bad_settings(settings, said):
    arguments = {"config": CONFIG, "budgets": BUDGETS} | settings
    with pytest.raises(InputError, match=said):
        SandwichAttack(certifier(GaussianNoise(0.1), masks(), 1), **arguments)
