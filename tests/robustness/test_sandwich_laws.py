"""The sandwich of laws that transform images: attacks find no contradiction, unless radii are made too large."""

import attrs
import pytest
import torch

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import Claim, ClaimCertificate, PixelCertificate, PredictionCertificate
from lit_certattr.numbers import Gini
from lit_certattr.regions import Superpixels
from lit_certattr.robustness import SandwichAttack
from lit_certattr.smoothing import AffineNoise, BlurNoise, ExposureNoise, GammaNoise, PatchMaskNoise, RegionMaskNoise

LAWS = {
    "exposure": (ExposureNoise(exposure=0.5, sigma=0.1), (0.2, 3.0)),
    "shading": (ExposureNoise(exposure=0.3, shading=0.5), (0.2, 1.5)),
    "gamma": (GammaNoise(log_gamma=0.3, sigma=0.1), (0.1, 2.0)),
    "affine": (AffineNoise(log_contrast=0.2, brightness=0.15), (0.05, 0.6)),
    "blur": (BlurNoise(rate=2.0), (0.2, 4.0)),
    "patches": (PatchMaskNoise(keep=0.4, cells=4), (1.0, 8.0)),
    "regions": (RegionMaskNoise(keep=0.4, regions=Superpixels(count=16, sigma=0)), (1.0, 6.0)),
}


def certifier(noise, seed):
    named = {
        "pixel": PixelCertificate([0.4], alpha=0.05),
        "prediction": PredictionCertificate(alpha=0.05),
        "claims": ClaimCertificate([Claim("gini", Gini())], alpha=0.05),
    }
    return Certifier(Gradient(), noise, named, num_samples=200, batch_size=200, seed=seed)


@pytest.fixture(scope="module", params=list(LAWS))
def attacked(request, trained_digits):
    noise, budgets = LAWS[request.param]
    net, images, targets = trained_digits
    results = certifier(noise, 0)(net, images[:1], targets[:1], ["digit"])[0]
    config = AttackConfig(eps=1.0, steps=4, smooth_beta=5.0)
    attack = SandwichAttack(certifier(noise, 1), config, budgets, draws=4, judge_draws=32)
    return noise, budgets, results, attack, net, images[0], attack(net, images[0], results, "digit", 0.01)


def test_no_contradiction_is_found(attacked):
    *_, made = attacked
    assert {row["certificate"] for row in made.rows} == {"pixel", "prediction", "claims"}
    for row in made.rows:
        assert row["contradicted"] == 0
        assert row["certified"] <= row["attacked_upper"] + 1e-9


def test_found_images_are_within_their_budgets(attacked):
    noise, budgets, _, _, _, image, made = attacked
    assert torch.equal(made.images[0], image)
    used = set()
    budget = noise.placed(image, "digit").budget
    for one, point in zip(made.candidates, made.images, strict=True):
        length = budget.length(image, point)
        assert length <= one.budget * (1 + 1e-3) + 1e-9
        assert length == pytest.approx(one.length, abs=1e-6)
        used.add(one.budget if length > 0.5 * one.budget else 0.0)
    assert max(used) == max(budgets)  # the search goes far


@pytest.mark.slow
def test_radii_made_too_large_are_contradicted(attacked):
    _, budgets, results, attack, net, image, _ = attacked
    pixel = results["pixel"]
    forged = attrs.evolve(pixel, radius=torch.where(pixel.labels >= 0, 2 * budgets[-1], 0.0).to(pixel.radius.dtype))
    made = attack(net, image, {**results, "pixel": forged}, "digit", 0.01)
    assert sum(row["contradicted"] for row in made.rows if row["certificate"] == "pixel") > 0
