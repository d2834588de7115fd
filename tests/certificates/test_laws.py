"""Results for laws that transform images: sentences, figures, files, and Holm's test at their radii."""

import math

import attrs
import pytest
import torch
from matplotlib.figure import Figure

from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    CosineCertificate,
    PercentileCertificate,
    PixelCertificate,
    PredictionCertificate,
    PredictionResult,
    RenyiCertificate,
    SmoothGradCertificate,
    TopKOverlapCertificate,
    load_results,
    save_results,
)
from lit_certattr.certificates.presentation import present
from lit_certattr.errors import InputError
from lit_certattr.numbers import Box, EnergyInside, Gini
from lit_certattr.regions import Grid
from lit_certattr.smoothing import (
    GAUSSIAN_LAWS,
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    MapBlock,
    PatchMaskNoise,
    RegionMaskNoise,
    uniform_levels,
)

ALPHA, SAMPLES = 0.05, 300
LAWS = {
    "exposure": ExposureNoise(exposure=0.5, sigma=0.1),
    "fields": ExposureNoise(exposure=0.5, shading=0.3),
    "gamma": GammaNoise(log_gamma=0.2),
    "affine": AffineNoise(log_contrast=0.2, brightness=0.3),
    "blur": BlurNoise(rate=1.5),
    "patches": PatchMaskNoise(keep=0.25, cells=14),
    "regions": RegionMaskNoise(keep=0.25, regions=Grid(2)).placed(torch.zeros(3, 2, 2), "four"),
}
SAYS = {
    "exposure": "Within 0.25 lies: exposure within +-0.25 stops (factors from 0.8409 to 1.189).",
    "fields": "Within 0.25 lie, each alone: exposure within +-0.25 stops (factors from 0.8409 to 1.189); shading",
    "gamma": "Within 0.25 lies: gamma between 0.7789 and 1.284.",
    "affine": "Within 0.25 lie, each alone: brightness within +-0.25 (63.7 of 255 grey levels); contrast between 0.85",
    "blur": "Within 0.25 lies: blur of at most 0.25 pixels.",
    "patches": "Within 1 lies: any new content of up to 1 of the 196 patches.",
    "regions": "Within 1 lies: any new content of up to 1 of the 4 regions.",
}
WHOLE = ("patches", "regions")
"""Laws whose radii are whole numbers and one half."""
NUMBERS = [Claim("gini", Gini()), Claim("left", EnergyInside(Box(0, 0, 1, 0.5)), at_least=0.4)]
CERTIFICATES = {
    "pixel": PixelCertificate([1], ALPHA),
    "claims": ClaimCertificate(NUMBERS, alpha=ALPHA),
    "overlap": TopKOverlapCertificate(top_k=1, alpha=ALPHA),
    "renyi": RenyiCertificate(top_k=1, alpha=ALPHA),
    "cosine": CosineCertificate(alpha=ALPHA, num_selection=50),
    "percentiles": PercentileCertificate(NUMBERS[:1], alpha=ALPHA),
}
PAIRS = [
    (law, name)
    for law, noise in LAWS.items()
    for name in CERTIFICATES
    if name in ("pixel", "claims") or isinstance(noise, GAUSSIAN_LAWS)
]


def result_of(certificate, noise, count=SAMPLES):
    """From the same maps for all laws: the first of two pixels is always the larger one."""
    accumulator = certificate.start(noise, (1, 2), dimension=12)
    maps = torch.rand(count, 1, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, 0])
    accumulator.update(MapBlock(maps, levels=uniform_levels(0, "a", 0, count)))
    return accumulator.compute()


def prediction_of(noise, votes=(290, 5)):
    fixed = PredictionCertificate(ALPHA).fixed(noise, (1, 2), 12, SAMPLES, 1.0)
    blank = PredictionResult(
        votes=torch.tensor(votes), lower=0.0, upper=1.0, num_samples=SAMPLES, noise_partition=noise.partition, **fixed
    )
    return blank.rederive()


def radius_of(law):
    return 1.0 if law in WHOLE else 0.25


@pytest.mark.parametrize(("law", "name"), PAIRS)
def test_sentences_say_what_a_radius_allows_and_stay_when_read_from_a_file(law, name, tmp_path):
    found = result_of(CERTIFICATES[name], LAWS[law])
    said = found.statement(radius_of(law))
    says = SAYS[law]
    if law in WHOLE and name == "pixel":
        says = says.replace("lies:", "lie, each alone:").rstrip(".") + f"; up to 2 {law} filled with the grey"
    assert says in said
    assert "l2" not in said
    assert (f"with number of changed {law} at most 1 " in said) or law not in WHOLE or name != "pixel"
    assert found.noise_settings == repr(LAWS[law])
    save_results(tmp_path / "file", {name: found})
    again = load_results(tmp_path / "file")[name]
    assert (again.statement(), again.statement(radius_of(law))) == (found.statement(), said)
    assert again.change_budget.axes(0.5) == found.change_budget.axes(0.5)


@pytest.mark.parametrize("law", LAWS)
def test_sentences_of_predictions(law, tmp_path):
    found = prediction_of(LAWS[law])
    said = found.statement(radius_of(law))
    assert SAYS[law] in said
    assert "so the smoothed network predicts the explained class there" in said
    assert found.holds(found.radius)
    assert found.radius == (2.5 if law in WHOLE else pytest.approx(found.radius))
    save_results(tmp_path / "file", {"prediction": found})
    assert load_results(tmp_path / "file")["prediction"].statement() == found.statement()
    assert prediction_of(LAWS[law], (5, 290)).refuted_radius == found.radius


@pytest.mark.parametrize(("law", "name"), PAIRS)
def test_figures_name_the_unit_of_the_law(law, name):
    found = result_of(CERTIFICATES[name], LAWS[law])
    labels = []
    for plot in present(found).plots(""):
        plot(panel := Figure().add_subplot())
        labels.append(panel.get_xlabel())
    assert labels
    assert not any("l2" in label for label in labels)
    assert any(found.change_budget.unit == label for label in labels) or name in ("claims", "percentiles")


@pytest.mark.parametrize("law", LAWS)
def test_certificates_without_a_theorem_for_a_law_name_it(law):
    with pytest.raises(InputError, match=f"SmoothGradCertificate is proved for .*, not for {type(LAWS[law]).__name__}"):
        SmoothGradCertificate(top_k=1).start(LAWS[law], (1, 2), dimension=12)
    if not isinstance(LAWS[law], GAUSSIAN_LAWS):
        for name in ("overlap", "renyi", "cosine", "percentiles"):
            with pytest.raises(InputError, match=f"is proved for .*, not for {type(LAWS[law]).__name__}"):
                CERTIFICATES[name].start(LAWS[law], (1, 2), dimension=12)


@pytest.mark.parametrize("law", LAWS)
def test_numbers_at_the_image_itself_do_not_depend_on_the_law(law):
    found, plain = (result_of(CERTIFICATES["claims"], noise) for noise in (LAWS[law], GaussianNoise(0.25)))
    for claim in range(2):
        assert found.interval(claim, 0.0).low == pytest.approx(plain.interval(claim, 0.0).low, abs=1e-9)
        assert found.interval(claim, 0.0).high == pytest.approx(plain.interval(claim, 0.0).high, abs=1e-9)
        wider = found.interval(claim, radius_of(law) / 2 + 0.5 * (law in WHOLE))
        assert wider.low < found.interval(claim, 0.0).low
        assert wider.high > found.interval(claim, 0.0).high


@pytest.mark.parametrize("law", LAWS)
def test_claims_that_pass_holms_test_hold_at_its_radius(law):
    radius = radius_of(law) / (1 if law in WHOLE else 2)
    certificate = ClaimCertificate(NUMBERS, alpha=ALPHA, holm_radius=radius)
    found = result_of(certificate, LAWS[law])
    assert found.holds("left", radius)
    assert math.isinf(found.at_most[1])
    assert found.interval("left", radius).low >= 0.4
    # The mean that the test asks for is the smallest that is enough, so a claim that is nearly too strong passes, too.
    alone = result_of(ClaimCertificate(NUMBERS, alpha=ALPHA), LAWS[law])
    most = alone.interval("left", radius).low - 1e-6
    strong = Claim("left", EnergyInside(Box(0, 0, 1, 0.5)), at_least=most)
    tight = result_of(ClaimCertificate([NUMBERS[0], strong], alpha=ALPHA, holm_radius=radius), LAWS[law])
    assert tight.holds("left", radius)


@pytest.mark.parametrize("law", LAWS)
def test_a_law_with_forged_settings_is_told_apart_or_unreadable(law):
    found = result_of(CERTIFICATES["pixel"], LAWS[law])
    for word in ("wind=3, ", "sigma=-1.0, "):
        forged = attrs.evolve(found, noise_settings=found.noise_settings.replace("(", f"({word}", 1))
        with pytest.raises(InputError, match=r"is no noise law|sigma"):
            forged.statement()
    assert found.change_budget.name == LAWS[law].budget.name


class Brighter(ExposureNoise):
    """A law of a user, of a known family."""


def test_subclasses_of_the_user_keep_bounds_and_files(tmp_path):
    noise = Brighter(exposure=0.5)
    plain = ExposureNoise(exposure=0.5)
    for name, certificate in CERTIFICATES.items():
        found, expected = result_of(certificate, noise), result_of(certificate, plain)
        assert found.noise_settings.startswith("Brighter(")
        if hasattr(found, "certified_count"):
            assert found.certified_count(0.2) == expected.certified_count(0.2)
        save_results(tmp_path / name, {name: found})
        again = load_results(tmp_path / name)[name]
        assert again.statement(0.2) == found.statement(0.2)


def test_pixels_of_samples_that_are_nan_are_not_certified():
    certificate = CERTIFICATES["pixel"]
    for noise in LAWS.values():
        accumulator = certificate.start(noise, (1, 2), dimension=12)
        maps = torch.tensor([[[2.0, 1.0]]]).repeat(SAMPLES, 1, 1)
        maps[: SAMPLES // 2] = torch.nan
        accumulator.update(maps)
        found = accumulator.compute()
        assert found.num_invalid == SAMPLES // 2
        assert not bool((found.radius > 0).any())


@pytest.mark.parametrize("law", LAWS)
def test_looks_at_several_moments_share_alpha(law):
    accumulator = CERTIFICATES["pixel"].start(LAWS[law], (1, 2), dimension=12)
    accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(SAMPLES, 1, 2))
    part, whole = accumulator.result(0.1), accumulator.result(1.0)
    assert float(part.radius.max()) <= float(whole.radius.max())
    assert float(part.radius.max()) > 0
