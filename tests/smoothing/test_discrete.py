"""Gaussian noise on the grid of grey levels: its law, its stream, what it refuses, and that the theorems hold."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.special import ndtr
from scipy.stats import chi2, norm

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import (
    PixelCertificate,
    PixelResult,
    RenyiCertificate,
    TopKOverlapCertificate,
    TopKOverlapResult,
)
from lit_certattr.certification import StoppingRule
from lit_certattr.errors import InputError
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, MapBlock, alpha_slack, noisy_images
from lit_certattr.smoothing.discrete import _upper_tail

GREY = torch.arange(256).reshape(1, 16, 16) / 255
KNOWN = [[11, 38, 67, -80, -4, -34], [99, 74, 30, 44, -25, -10]]


def _shifts(noise, num_samples, image=GREY, **options):
    """The noise in grey levels, int64 ``[n, C, H, W]``."""
    options = {"image_id": "cat", "batch_size": 64} | options
    blocks = noisy_images(image, noise, num_samples=num_samples, **options)
    noisy = torch.cat([block.clone() for block in blocks]).double()
    shifts = (noisy - image.double()) * noise.levels
    assert (shifts - shifts.round()).abs().max() < 1e-3, "off the grid"
    return shifts.round().long()


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 9))
def test_the_tail_is_that_of_the_normal_law(x):
    with localcontext(prec=60):
        tail = float(_upper_tail(Decimal(x)))
    assert tail == pytest.approx(norm.sf(x), rel=1e-12)


def test_the_tail_in_forty_digits():
    # P(Z > 1) and P(Z > 8) from tables of the error function.
    with localcontext(prec=60):
        one, eight = _upper_tail(Decimal(1)), _upper_tail(Decimal(8))
    assert str(one).startswith("0.1586552539314570514147674543679620")
    assert float(eight) == pytest.approx(6.220960574271785e-16, rel=1e-14)


@pytest.mark.parametrize(("sigma", "levels"), [(0.25, 255), (0.5, 16), (0.001, 255), (1.0, 255)])
def test_probabilities(sigma, levels):
    noise = DiscreteGaussianNoise(sigma, levels)
    shifts = np.array(noise.support)
    drawn = np.array([noise.probability(int(shift)) for shift in shifts])
    scale = sigma * levels
    near = np.abs(shifts)  # from the tails, where differences of the distribution function keep their digits
    exact = norm.sf((near - 0.5) / scale) - norm.sf((near + 0.5) / scale)
    exact[near == 0] = 1 - 2 * norm.sf(0.5 / scale)
    assert drawn == pytest.approx(exact, abs=2e-16)
    assert drawn.sum() == pytest.approx(1, abs=1e-12)
    assert (drawn == drawn[::-1]).all()
    assert noise.probability(noise.support.stop) == noise.probability(noise.support.start - 1) == 0
    assert norm.sf((noise.support.stop - 0.5) / scale) < 2.0**-64, "the support leaves out less than one unit"
    assert 0 < noise.distance < 1e-14
    assert alpha_slack(noise, 1000, 10) == 10_000 * noise.distance
    assert alpha_slack(GaussianNoise(sigma), 1000, 10) == 0


@pytest.mark.parametrize(("sigma", "levels"), [(0.25, 255), (0.1, 16), (0.002, 255)])
def test_the_law_by_chi_square(sigma, levels):
    noise = DiscreteGaussianNoise(sigma, levels)
    image = torch.arange(0, levels + 1).repeat(128)[: 16 * 128].reshape(1, 16, 128) / levels
    shifts = _shifts(noise, 200, image).flatten().numpy()
    support = np.array(noise.support)
    expected = shifts.size * np.array([noise.probability(int(shift)) for shift in support])
    observed = np.bincount(shifts - support[0], minlength=len(support))
    rare = expected < 10
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    keep = expected > 1
    statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
    assert chi2.sf(statistic, keep.sum() - 1) > 1e-4


def test_coordinates_and_samples_are_independent():
    shifts = _shifts(DiscreteGaussianNoise(0.25), 400).double().flatten(1)
    across = np.corrcoef(shifts.numpy())[np.triu_indices(400, 1)]
    assert np.abs(across).max() < 6.5 / np.sqrt(256)
    along = np.corrcoef(shifts.numpy().T)[np.triu_indices(256, 1)]
    assert np.abs(along).max() < 6.5 / np.sqrt(400)


def test_a_sample_depends_on_seed_image_and_number_alone():
    noise = DiscreteGaussianNoise(0.25)
    whole = _shifts(noise, 40)
    assert torch.equal(whole, _shifts(noise, 40, batch_size=7))
    assert torch.equal(whole[13:], _shifts(noise, 27, start=13))
    assert torch.equal(whole[5:6], _shifts(noise, 1, start=5, memory_format=torch.contiguous_format))
    assert not torch.equal(whole, _shifts(noise, 40, seed=1))
    assert not torch.equal(whole, _shifts(noise, 40, image_id="dog"))
    assert len({tuple(sample.flatten().tolist()) for sample in whole}) == 40


def test_known_bits():
    # The same on every machine: integers only.
    shifts = _shifts(DiscreteGaussianNoise(0.25), 2).flatten(1)
    assert shifts[:, :6].tolist() == KNOWN


def test_rounding_commutes_with_the_image():
    # round(x + sigma z) = x + round(sigma z) for integers x: the step on which the proof rests.
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(10_000, dtype=torch.float64, generator=generator) * 63.75
    x = torch.randint(0, 256, (10_000,), generator=generator)
    assert torch.equal((x + z).round(), x + z.round())


def test_the_network_sees_the_integer_image_and_nothing_else():
    # Two images whose noisy versions meet in the same integers must give the same bits to the network.
    noise = DiscreteGaussianNoise(0.1)
    shift = _shifts(noise, 1)[0]
    other = (GREY * 255).round().long() + 3
    options = {"image_id": "cat", "num_samples": 1, "batch_size": 1}
    (noisy,) = noisy_images(GREY, noise, **options)
    expected = ((GREY * 255).round().long() + shift).float() / 255
    assert torch.equal(noisy[0], expected)
    assert torch.equal(noisy[0], (other + (shift - 3)).float() / 255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_precisions(dtype):
    image = GREY.to(dtype) if dtype != torch.float16 else torch.zeros(1, 4, 4, dtype=dtype)
    (noisy,) = noisy_images(image, DiscreteGaussianNoise(0.25), image_id="cat", num_samples=3, batch_size=3)
    assert noisy.dtype == dtype
    assert noisy.isfinite().all()


def test_images_off_the_grid_are_refused():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    certifier = Certifier(Gradient(), DiscreteGaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=100)
    image = GREY.clone()
    certifier(net, image[None], ids=["good"])
    image[0, 3, 4] += 0.1 / 255
    with pytest.raises(InputError, match=r"image bad: pixel value 0\.20\d+ is no multiple of 1/255"):
        certifier(net, torch.stack([GREY, image]), ids=["good", "bad"])
    coarse = Certifier(Gradient(), DiscreteGaussianNoise(0.25, 16), [PixelCertificate([0.5])], num_samples=100)
    with pytest.raises(InputError, match="1/16"):
        coarse(net, GREY[None])
    coarse(net, (torch.arange(256).reshape(1, 1, 16, 16) % 17) / 16)


@pytest.mark.parametrize("arguments", [(0,), (-1,), (float("nan"),), (0.25, 0), (1e-5,), (100.0,)])
def test_settings_out_of_range(arguments):
    with pytest.raises(InputError):
        DiscreteGaussianNoise(*arguments)


def test_the_record_names_law_and_generator():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    certificates = [PixelCertificate([0.5]), TopKOverlapCertificate(0.5)]
    (results,) = Certifier(Gradient(), DiscreteGaussianNoise(0.25), certificates, num_samples=100)(net, GREY[None])
    for result in results.values():
        assert result.noise == "DiscreteGaussianNoise"
        assert result.sampling["noise"] == "DiscreteGaussianNoise(sigma=0.25, levels=255)"
        assert "integer" in result.sampling["generator"]
        assert "whole grey levels" in result.statement()
        assert result.rederive().statement() == result.statement()


# --- what the law that is drawn adds to alpha --------------------------------------------------------------------

CERTIFICATES = {
    "pixel": lambda alpha: PixelCertificate([0.5, 0.25], alpha),
    "holm": lambda alpha: PixelCertificate([0.5], alpha, tau=0.75, correction="holm"),
    "overlap": lambda alpha: TopKOverlapCertificate(0.25, alpha),
    "pairs": lambda alpha: TopKOverlapCertificate(0.25, alpha, num_selection=50, pairs=4),
    "one_number": lambda alpha: TopKOverlapCertificate(0.25, alpha, num_selection=50, bound="one_number"),
    "renyi": lambda alpha: RenyiCertificate(0.25, alpha, scores="uniform"),
}


def _count(certificate, noise, num_samples=400):
    generator = torch.Generator().manual_seed(0)
    maps = torch.linspace(-1, 1, 16).view(4, 4) + 0.2 * torch.randn(num_samples, 4, 4, generator=generator)
    accumulator = certificate.start(noise, (4, 4), 48)
    accumulator.update(MapBlock(maps, 0))
    return accumulator.compute()


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_what_the_noise_adds_to_alpha_is_taken_off_what_the_bounds_spend(kind):
    noise = DiscreteGaussianNoise(0.25)
    slack = alpha_slack(noise, 400, 48)
    make = CERTIFICATES[kind]
    # So small an alpha that the slack is most of it.
    found, exact = _count(make(1.25 * slack), noise), _count(make(1.25 * slack - slack), GaussianNoise(0.25))
    whole = _count(make(1.25 * slack), GaussianNoise(0.25))
    assert (found.alpha, found.alpha_slack, whole.alpha_slack) == (1.25 * slack, slack, 0.0)
    assert found.spent_alpha == pytest.approx(0.25 * slack)
    radii = "radius" if hasattr(found, "radius") else "displacement"
    torch.testing.assert_close(getattr(found, radii), getattr(exact, radii), rtol=1e-5, atol=1e-6)
    if kind != "holm":  # whose radii are all the same
        assert float((getattr(whole, radii) - getattr(found, radii)).nan_to_num(0).max()) > 1e-3
    for name, claim in found.claims().items():
        torch.testing.assert_close(claim, exact.claims()[name], rtol=1e-9, atol=1e-9)
    again = found.rederive()
    assert torch.equal(getattr(again, radii), getattr(found, radii))
    assert again.alpha_slack == slack


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_noise_that_spends_all_of_alpha_is_refused_before_anything_is_sampled(kind):
    noise = DiscreteGaussianNoise(0.25)
    alpha = 0.9 * alpha_slack(noise, 400, 256)
    with pytest.raises(InputError, match=r"spend .* of alpha by themselves.*larger alpha or fewer samples"):
        _count(CERTIFICATES[kind](alpha / 256 * 48), noise)
    drawn = []
    certifier = Certifier(Gradient(), noise, [CERTIFICATES[kind](alpha)], num_samples=400)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    with pytest.raises(InputError, match="of alpha by themselves"):
        certifier(net, GREY[None], on_block=drawn.append)
    assert not drawn


def test_noise_on_a_grid_needs_the_number_of_values_of_the_image():
    with pytest.raises(InputError, match=r"needs start\(noise, map_shape, dimension\)"):
        PixelCertificate([0.5]).start(DiscreteGaussianNoise(0.25), (4, 4))


def test_each_look_takes_off_what_its_own_samples_add():
    class Never(StoppingRule):
        def stop(self, looks):
            self.seen = [look.results["pixel"] for look in looks]
            return False

    net, rule = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3)), Never()
    noise = DiscreteGaussianNoise(0.25)
    certifier = Certifier(Gradient(), noise, [PixelCertificate([0.5])], num_samples=256, stopping=[rule])
    certifier(net, GREY[None])
    assert len(rule.seen) > 1
    for result in rule.seen:
        assert result.alpha_slack == alpha_slack(noise, result.num_samples, 256)
    assert sum(result.spent_alpha + result.alpha_slack for result in rule.seen) <= 0.001 * (1 + 1e-12)


def test_a_file_from_before_there_was_a_slack_is_read(tmp_path):
    result = _count(PixelCertificate([0.5]), GaussianNoise(0.25))
    result.save(tmp_path / "new")
    with safe_open(tmp_path / "new", "pt") as file:
        header = file.metadata()["lit_certattr"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "old", {"lit_certattr": header.replace('"alpha_slack": 0.0, ', "")})
    old = PixelResult.load(tmp_path / "old")
    assert old.alpha_slack == 0
    assert torch.equal(old.rederive().radius, result.radius)


# --- soundness in closed form ---------------------------------------------------------------------------------


def _half_line(threshold: int, shift: int, sigma: float, levels: int) -> float:
    """P(shift + W >= threshold) for the rounded Gaussian, of one coordinate."""
    return float(norm.sf((threshold - shift - 0.5) / (sigma * levels)))


@settings(max_examples=300, deadline=None)
@given(st.integers(-300, 300), st.integers(-200, 200), st.floats(0.004, 1.0), st.sampled_from([16, 255]))
def test_no_step_beats_the_bound(threshold, shift, sigma, levels):
    # The worst functions of the continuous theorem are half-spaces: on the grid they are steps.
    before, after = (_half_line(threshold, x, sigma, levels) for x in (0, shift))
    assume(1e-12 < before < 1 - 1e-4)  # beyond, the quantile of a rounded probability says little
    bound = ndtr(norm.ppf(before) - abs(shift) / levels / sigma)
    assert after >= bound * (1 - 1e-6)
    if shift < 0:
        assert after == pytest.approx(bound, rel=1e-6), "away from the threshold the bound is attained"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.05, 0.4))
@example(241, 1, 0.05)
def test_no_function_on_the_grid_beats_the_bound(seed, shift, sigma):
    # Any 0/1 function of the noisy integer, with the probabilities that are drawn.
    noise = DiscreteGaussianNoise(sigma, 16)
    generator = np.random.default_rng(seed)
    support = np.array(noise.support)
    law = np.array([noise.probability(int(k)) for k in support])
    wide = np.zeros(law.size + shift)
    wide[: law.size] = law
    moved = np.roll(wide, shift)
    chosen = generator.random(wide.size) < generator.random()
    before, missing, after = wide[chosen].sum(), wide[~chosen].sum(), moved[chosen].sum()
    if before > 0 and missing > 0:
        quantile = norm.ppf(before) if before < 0.5 else norm.isf(missing)  # a sum near 1 has lost what is missing
        assert after >= ndtr(quantile - shift / 16 / sigma) - 1e-12


def test_certificates_hold_at_every_perturbed_grid_image():
    # A linear network with one flipping pixel: the map is that of class 1 or 2 as a pixel passes a level, so the
    # votes of a perturbed image are known exactly, and the largest perturbation that certificates allow is tried.
    class Switch(torch.nn.Module):
        def forward(self, images):
            x = images.flatten(1)
            bright = (x[:, :1] > 0.5).to(x.dtype)
            weight = bright * torch.tensor([0.0, 2.0, 1.0]) + (1 - bright) * torch.tensor([0.0, 1.0, 2.0])
            score = (x * weight).sum(1, keepdim=True)
            return torch.cat([score, -score], dim=1)

    sigma, num_samples = 0.1, 2000
    noise = DiscreteGaussianNoise(sigma)
    image = torch.tensor([150.0, 40.0, 90.0]).reshape(1, 1, 1, 3) / 255
    certificates = [PixelCertificate([1]), TopKOverlapCertificate(1)]
    (results,) = Certifier(Gradient(), noise, certificates, num_samples=num_samples)(Switch(), image, targets=[0])
    vote = 1 - ndtr((127.5 - 150) / (sigma * 255))  # pixel 1 is on top where the noisy first value is at least 128
    assert results["pixel"].votes[0, 0].tolist() == pytest.approx(
        [0, vote * num_samples, (1 - vote) * num_samples], abs=120
    )
    assert results["pixel"].labels[0, 0].tolist() == [0, 1, 0]
    radius = float(results["pixel"].radius[0, 0, 1])
    exact = sigma * norm.ppf(vote)
    assert 0.8 * exact < radius < exact
    for steps in range(int(radius * 255) + 1):  # every darker first pixel within the radius, in exact probabilities
        assert 1 - ndtr((127.5 - 150 + steps) / (sigma * 255)) > 0.5
    overlap = results["topk_overlap"]
    assert isinstance(overlap, TopKOverlapResult)
    assert 0.5 * exact < overlap.max_radius(1.0) < exact
