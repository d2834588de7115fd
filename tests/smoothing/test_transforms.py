"""Laws that transform the image: they draw what they say, each image on its own, and refuse what they do not cover."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from lit_certattr.attribution import Gradient
from lit_certattr.budgets.blur import waves
from lit_certattr.budgets.patches import cells_of
from lit_certattr.certificates import PixelCertificate
from lit_certattr.certification import Certifier
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.smoothing import (
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    PatchMaskNoise,
    noise_law,
    noisy_images,
)

IMAGE = 0.2 + 0.6 * torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
COUNT = 3000
LEVEL = 1e-4
"""Level of each test of a law; the noise is keyed, so a test that passes always passes."""
LAWS = {
    "exposure": ExposureNoise(exposure=0.5),
    "balance": ExposureNoise(white_balance=0.3),
    "fields": ExposureNoise(exposure=0.5, white_balance=0.2, shading=0.3),
    "gamma": GammaNoise(log_gamma=0.3),
    "affine": AffineNoise(log_contrast=0.2, brightness=0.3),
    "blur": BlurNoise(rate=1.5),
    "patches": PatchMaskNoise(keep=0.25, cells=3),
}
NOISY = {
    "exposure": ExposureNoise(exposure=0.5, sigma=0.2),
    "gamma": GammaNoise(log_gamma=0.3, sigma=0.2),
    "affine": AffineNoise(log_contrast=0.2, brightness=0.3, sigma=0.2),
    "blur": BlurNoise(rate=1.5, sigma=0.2),
    "patches": PatchMaskNoise(keep=0.25, cells=3, sigma=0.2),
}


def drawn(noise, count=COUNT, image=IMAGE, image_id="cat", **options):
    stream = noisy_images(image, noise, image_id=image_id, num_samples=count, batch_size=500, **options)
    return torch.cat([block.clone() for block in stream])


def trained(noise, count=COUNT, image=IMAGE):
    batch = image.expand(count, -1, -1, -1)
    return noise.draw(batch, torch.Generator().manual_seed(1))(batch)


def coefficients(copies, basis):
    return (copies * basis).sum((1, 2, 3)).numpy()


def amounts(name, copies):
    """The amounts of each copy, with the distribution function that each should have."""
    if name in ("exposure", "balance"):
        stops = torch.log2(copies / IMAGE)[:, :, 2, 3].numpy()
        tau = 0.5 if name == "exposure" else 0.3
        return [(stops[:, channel], norm(scale=tau).cdf) for channel in range(3)]
    if name == "fields":
        stops = torch.log2(copies / IMAGE)
        fields = LAWS["fields"].budget.modes(IMAGE).fields
        ramp = fields[4]  # the first smooth field: orthogonal to what is constant in a channel
        return [
            (coefficients(stops, ramp) / float(ramp.square().sum()), norm(scale=0.3).cdf),
            (stops.mean((1, 2, 3)).numpy(), norm(scale=math.sqrt(0.25 + 0.04 / 3)).cdf),
        ]
    if name == "gamma":
        return [((copies.log() / IMAGE.log()).log()[:, 0, 1, 2].numpy(), norm(scale=0.3).cdf)]
    if name == "affine":
        first, second = copies[:, 0, 0, 0], copies[:, 1, 2, 3]
        contrast = ((first - second) / (IMAGE[0, 0, 0] - IMAGE[1, 2, 3])).log()
        brightness = first / contrast.exp() - IMAGE[0, 0, 0]
        return [(contrast.numpy(), norm(scale=0.2).cdf), (brightness.numpy(), norm(scale=0.3).cdf)]
    basis, decay = waves(8)
    wave = torch.einsum("c,h,w->chw", torch.tensor([1.0, 0, 0]).double(), waves(6).basis[0], basis[1])
    shares = coefficients(copies, wave) / float((IMAGE * wave).sum())
    return [(-np.log(shares) / float(decay[1]), lambda time: 1 - np.exp(-1.5 * np.maximum(time, 0)))]


@pytest.mark.parametrize("sampled", [drawn, trained])
@pytest.mark.parametrize("name", [name for name in LAWS if name != "patches"])
def test_the_amounts_have_the_law_that_is_said(name, sampled):
    found = amounts(name, sampled(LAWS[name]))
    for values, distribution in found:
        assert kstest(values, distribution).pvalue > LEVEL
        assert kstest(1.2 * values, distribution).pvalue < LEVEL  # it would see another strength
    if len(found) > 1 and name != "exposure":
        correlations = np.corrcoef([values for values, _ in found])
        assert np.abs(correlations - np.eye(len(found))).max() < 5 / COUNT**0.5


@pytest.mark.parametrize("sampled", [drawn, trained])
def test_patches_are_kept_independently_with_the_probability_that_is_said(sampled):
    copies = sampled(LAWS["patches"])
    cell = cells_of(6, 8, 3)
    filled = torch.stack([(copies == 0.5)[:, :, cell == number].all((1, 2)) for number in range(9)], 1)
    shown = torch.stack([(copies == IMAGE)[:, :, cell == number].all((1, 2)) for number in range(9)], 1)
    assert bool((filled ^ shown).all())  # nothing between
    kept = shown.double()
    assert float((kept.mean(0) - 0.25).abs().max()) < 5 * (0.25 * 0.75 / COUNT) ** 0.5
    assert float((torch.corrcoef(kept.T) - torch.eye(9)).abs().max()) < 5 / COUNT**0.5


@pytest.mark.parametrize("name", NOISY)
def test_pixel_noise_is_independent_of_the_transformation(name):
    copies, clean = drawn(NOISY[name]), drawn(LAWS[name])
    rest = (copies - clean)[:, :, 2:4, 3:5].flatten(1)  # the transformations are keyed: they are the same
    assert kstest(rest[:, 0].numpy(), norm(scale=0.2).cdf).pvalue > LEVEL
    together = torch.cat([rest, clean[:, :, 2, 3]], 1)
    correlations = torch.corrcoef(together.T).nan_to_num(0)[: rest.shape[1]]
    correlations[:, : rest.shape[1]] -= torch.eye(rest.shape[1])
    assert float(correlations.abs().max()) < 5 / COUNT**0.5


@pytest.mark.parametrize("name", LAWS)
def test_images_and_samples_have_their_own_transformations(name):
    cat, dog = drawn(LAWS[name], 400), drawn(LAWS[name], 400, image_id="dog")
    assert not torch.equal(cat, dog)
    assert len({tuple(one.flatten().tolist()) for one in cat}) > (300 if name != "patches" else 100)
    value = cat[:, 0, 2, 3], dog[:, 0, 2, 3], cat[:, 0, 2, 3].roll(1)
    correlations = torch.corrcoef(torch.stack(value)) - torch.eye(3)
    assert float(correlations.abs().max()) < 5 / 400**0.5
    other = drawn(LAWS[name], 400, seed=1)
    assert not torch.equal(cat, other)


@pytest.mark.parametrize("name", LAWS)
def test_each_image_of_a_batch_is_transformed_on_its_own_and_fixed(name):
    batch = torch.stack([IMAGE, IMAGE, 1 - IMAGE])
    noisy = LAWS[name].draw(batch, torch.Generator().manual_seed(3))
    out = noisy(batch)
    assert not torch.equal(out[0], out[1])
    assert torch.equal(noisy(batch), out)
    moved = batch.clone()
    moved[2] = 0.1
    assert torch.allclose(noisy(moved)[:2], out[:2], atol=1e-12)
    again = LAWS[name].draw(batch, torch.Generator().manual_seed(3))
    assert torch.equal(again(batch), out)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("value", [0.0, 1e-38, 1.0])
def test_drawn_noise_is_differentiable_also_at_black_and_white(name, value):
    images = torch.full((4, 3, 6, 8), value)
    images[:, 0, 0, 0] = 0.5
    images.requires_grad_()
    LAWS[name].draw(images, torch.Generator().manual_seed(0))(images).sum().backward()
    assert bool(images.grad.isfinite().all())
    assert bool((images.grad[:, 0, 0, 0] != 0).any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LAWS)
def test_half_precision_rounds_the_noisy_image_alone(name, dtype):
    half = IMAGE.to(dtype)
    copies, exact = drawn(LAWS[name], 32, half), drawn(LAWS[name], 32, half.float())
    assert copies.dtype == dtype
    assert torch.allclose(copies.float(), exact, rtol=2.0**-8, atol=1e-3)
    batch = half.expand(8, -1, -1, -1)
    out = LAWS[name].draw(batch, torch.Generator().manual_seed(0))(batch)
    wide = LAWS[name].draw(batch.float(), torch.Generator().manual_seed(0))(batch.float())
    assert out.dtype == dtype
    assert torch.allclose(out.float(), wide, rtol=0.05, atol=0.02)  # the same draws: they are made in 32 bits


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 9), (4, 3, 3)])
@pytest.mark.parametrize("name", LAWS)
def test_other_shapes_of_images(name, shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    noise = PatchMaskNoise(keep=0.25, cells=1) if name == "patches" else LAWS[name]
    noise.check(image, "cat")
    assert drawn(noise, 8, image).shape == (8, *shape)


EXTREME = [
    ExposureNoise(exposure=1e-4),
    ExposureNoise(exposure=10.0, white_balance=10.0),
    GammaNoise(log_gamma=1e-4),
    GammaNoise(log_gamma=10.0),
    AffineNoise(log_contrast=10.0, brightness=1e3),
    AffineNoise(log_contrast=1e-4, brightness=1e-4),
    BlurNoise(rate=1e-4),
    BlurNoise(rate=1e3),
    PatchMaskNoise(keep=1e-6, cells=6),
    PatchMaskNoise(keep=0.999999, cells=1),
]


@pytest.mark.parametrize("noise", EXTREME, ids=repr)
def test_extreme_settings_give_finite_copies_and_results(noise):
    image = IMAGE.float()
    noise.check(image, "cat")
    assert bool(drawn(noise, 500, image).isfinite().all())
    accumulator = PixelCertificate([1], 0.05).start(noise, (1, 2), dimension=image.numel())
    accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(200, 1, 2))
    result = accumulator.compute()
    assert bool((result.radius[result.labels >= 0] > 0).all())
    assert result.statement(noise.budget.typical)
    assert result.holds_for(image, image).length < 1e-9


def test_a_mask_of_every_pixel_of_a_large_image():
    image = torch.rand(1, 224, 224, generator=torch.Generator().manual_seed(0))
    copies = drawn(PatchMaskNoise(keep=0.25, cells=224), 2, image)
    assert float((copies != 0.5).double().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("law", "settings", "reason"),
    [
        (ExposureNoise, {}, "needs at least one of exposure, white_balance and shading"),
        (ExposureNoise, {"exposure": 0.0}, "exposure must lie between 1e-4 and 10"),
        (ExposureNoise, {"exposure": 11.0}, "exposure must lie between 1e-4 and 10"),
        (ExposureNoise, {"shading": math.nan}, "shading must"),
        (ExposureNoise, {"shading": 0.1, "shading_order": 0}, "shading_order must be"),
        (ExposureNoise, {"white_balance": "much"}, "white_balance must"),
        (ExposureNoise, {"exposure": 0.1, "sigma": -1.0}, "sigma must"),
        (GammaNoise, {"log_gamma": -0.1}, "log_gamma must lie between"),
        (GammaNoise, {"log_gamma": math.inf}, "log_gamma must"),
        (GammaNoise, {"log_gamma": True}, "log_gamma must"),
        (AffineNoise, {"log_contrast": 0.0, "brightness": 0.1}, "log_contrast must lie between"),
        (AffineNoise, {"log_contrast": 0.1, "brightness": math.nan}, "brightness must"),
        (BlurNoise, {"rate": 0.0}, "rate must lie between"),
        (BlurNoise, {"rate": 1e4}, "rate must lie between"),
        (BlurNoise, {"rate": None}, "rate must"),
        (PatchMaskNoise, {"keep": 0.0, "cells": 3}, "keep must lie between 0 and 1, both excluded"),
        (PatchMaskNoise, {"keep": 1.0, "cells": 3}, "keep must lie between 0 and 1, both excluded"),
        (PatchMaskNoise, {"keep": math.nan, "cells": 3}, "keep must"),
        (PatchMaskNoise, {"keep": 0.5, "cells": 0}, "cells must be"),
        (PatchMaskNoise, {"keep": 0.5, "cells": 2.5}, "cells must be"),
        (PatchMaskNoise, {"keep": 0.5, "cells": 3, "fill": 2.0}, "fill must lie in"),
    ],
)
def test_bad_settings_are_refused_in_one_line(law, settings, reason):
    with pytest.raises(InputError, match=reason) as error:
        law(**settings)
    assert "\n" not in str(error.value)


REFUSED = [
    (
        GammaNoise(0.2),
        torch.full((1, 8, 8), -0.1),
        "image cat: GammaNoise needs values in .0, 1., these lie between -0.1",
    ),
    (GammaNoise(0.2), torch.full((1, 8, 8), 1.5), "image cat: GammaNoise needs values in .0, 1."),
    (
        PatchMaskNoise(0.5, cells=9),
        torch.rand(1, 8, 8),
        "image cat: a grid of 9 x 9 patches does not fit an image of 8 x 8",
    ),
    (ExposureNoise(shading=0.1, shading_order=40), torch.rand(1, 64, 64), "image cat: .* modes are more than the 256"),
    (ExposureNoise(shading=0.1), torch.rand(1, 1, 1), "image cat: an image of 1 x 1 pixels has no shading"),
]


@pytest.mark.parametrize(("noise", "image", "reason"), REFUSED)
def test_images_that_a_law_does_not_cover_are_refused_before_sampling(noise, image, reason):
    with pytest.raises(InputError, match=reason) as error:
        noise.check(image, "cat")
    assert "\n" not in str(error.value)
    passes = []
    model = SmallCNN(image_size=image.shape[1]).eval() if image.shape[1] > 1 else torch.nn.Flatten()
    model.register_forward_hook(lambda *_: passes.append(1))
    certifier = Certifier(Gradient(), noise, [PixelCertificate([0.5])], num_samples=100, batch_size=50)
    with pytest.raises(InputError, match=f"{reason}|image cat: pixels must lie in .0, 1."):
        certifier(model, image[None], torch.tensor([0]), ids=["cat"])
    assert len(passes) <= 1  # at most the prediction for the image itself


def test_noise_that_is_added_is_not_asked_of_them():
    with pytest.raises(InputError, match="it transforms them: use draw"):
        LAWS["gamma"].sample_like(IMAGE[None])


@pytest.mark.parametrize("noise", [*LAWS.values(), *NOISY.values(), *EXTREME], ids=repr)
def test_a_record_brings_the_law_back(noise):
    assert noise_law(repr(noise)) == noise
    assert noise_law(repr(noise)).budget.definition == noise.budget.definition


def shifted(noise, image, numbers, amounts):
    """The numbers with which the image gives the copies that the changed image has: what each theorem rests on."""
    if isinstance(noise, ExposureNoise):
        return numbers + amounts / noise.budget.modes(image).tau
    if isinstance(noise, GammaNoise):
        return numbers + amounts / noise.log_gamma
    if isinstance(noise, AffineNoise):
        k, b = amounts
        brightness = (b + math.exp(-k) * noise.brightness * numbers[:, 1]) / noise.brightness
        return torch.stack([numbers[:, 0] + k / noise.log_contrast, brightness], 1)
    times = -norm.logcdf(numbers[:, 0].numpy()) / noise.rate + float(amounts[0]) ** 2 / 2
    return torch.from_numpy(norm.ppf(np.exp(-noise.rate * times)))[:, None]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", [name for name in LAWS if name != "patches"])
def test_a_copy_of_a_changed_image_is_one_of_the_image_with_other_amounts(name, dtype, tolerance):
    noise, image = LAWS[name], IMAGE.to(dtype)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(100, noise.size(image.shape), generator=generator, dtype=torch.float64)
    given = torch.tensor([0.3, 0.1]) if name == "affine" else torch.tensor([0.4] + [0.2] * (numbers.shape[1] - 1))
    amounts = given.double()
    found = noise.prepared(noise.budget.change(image, amounts))(numbers)
    expected = noise.prepared(image)(shifted(noise, image, numbers, amounts))
    assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert not torch.allclose(found, noise.prepared(image)(numbers), rtol=1e-3, atol=1e-3)
