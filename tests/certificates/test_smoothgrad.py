"""The certificate of SmoothGrad: samples, record, files, refusals."""

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import RISE, Attribution, Gradient, ProbabilityGradient, input_gradient
from lit_certattr.certificates import PixelCertificate, SmoothGradCertificate, SmoothGradResult
from lit_certattr.certificates.smoothgrad_bounds import (
    mean_margins,
    noise_rounding,
    reach,
    spread_upper,
    swap_distances,
)
from lit_certattr.certification import Futility
from lit_certattr.errors import InputError
from lit_certattr.metrics import metrics_for
from lit_certattr.smoothing import Draw, GaussianNoise, MapBlock, UniformBallNoise, noisy_images, normal_stream

SIGMA = 0.5


class Counting(nn.Module):
    """Two classes, steep in the first pixels; counts its passes, and whether a gradient was asked for."""

    def __init__(self, channels=1):
        super().__init__()
        self.passes = self.graphs = 0
        weight = torch.zeros(channels, 4, 5)
        weight[:, 0, :3] = torch.tensor([6.0, 5.0, 4.0])
        self.register_buffer("weight", weight.flatten())

    def forward(self, images):
        self.passes += len(images)
        self.graphs += images.requires_grad
        score = (images - 0.5).flatten(1) @ self.weight
        return torch.stack([score, -score], 1)


class Squared(Attribution):
    """A method of somebody else's: the gradient of the squared probability, its score."""

    def __init__(self):
        super().__init__("l2")

    def score(self, model, images, targets):
        return self.squares(model)(images).gather(1, targets.view(-1, 1))[:, 0]

    def squares(self, model):
        return lambda images: model(images).softmax(1).square()

    def __call__(self, model, images, targets, create_graph=False):
        return self.reduce(input_gradient(self.squares(model), images, targets, create_graph)[1])


def run(num_samples=4000, channels=1, batch_size=500, network=None, attribution=None, image=None, **settings):
    settings = {"top_k": 3, "alpha": 0.01, "num_selection": 200} | settings
    certifier = Certifier(
        attribution or ProbabilityGradient(),
        GaussianNoise(SIGMA),
        [SmoothGradCertificate(**settings)],
        num_samples,
        batch_size,
    )
    image = torch.full((channels, 4, 5), 0.5) if image is None else image
    return certifier(network or Counting(channels), image[None], [0], ids=["image"])[0]["smoothgrad"]


def test_the_steepest_pixels_are_certified():
    result = run(20_000)
    assert result.inside[0, :3].all()
    assert result.overlap(0.0) == 3
    assert 0 < float(result.displacement[0]) < SIGMA
    assert (result.displacement[1:] >= result.displacement[:-1]).all()


def test_forward_passes_are_all_that_is_made():
    """Beside the sampling: what is checked before it, on some images and whatever the number of samples is."""
    few, many = Counting(), Counting()
    run(700, network=few)
    run(1000, network=many)
    assert many.passes - few.passes == 300
    assert many.passes - 1000 < 32
    assert many.graphs == few.graphs == 5  # of the maps that are checked, before and after


def test_maps_are_computed_only_for_certificates_of_maps():
    network = Counting()
    certificates = [SmoothGradCertificate(3, num_selection=100), PixelCertificate([0.5])]
    certifier = Certifier(ProbabilityGradient(), GaussianNoise(SIGMA), certificates, 700, 100)
    results = certifier(network, torch.full((1, 1, 4, 5), 0.5), [0])[0]
    assert 2 * 700 < network.passes < 2 * 700 + 32
    assert {result.num_samples for result in results.values()} == {700}


def test_the_sums_are_those_of_the_samples():
    result = run(2000, channels=3, truncation=1.5, batch_size=300)
    image, network = torch.full((3, 4, 5), 0.5), Counting(3)
    blocks = noisy_images(image, GaussianNoise(SIGMA), image_id="image", num_samples=2000, batch_size=2000)
    images = next(blocks)
    p = network(images).softmax(1)[:, 0].double()
    z = (images.double() - 0.5) / SIGMA
    b = p[:200].mean()
    x = torch.where(z[200:].abs() <= 1.5, z[200:], 0) * (p[200:] - b).view(-1, 1, 1, 1)
    torch.testing.assert_close(result.total, x.sum(0))
    torch.testing.assert_close(result.square, x.square().sum(0))
    assert result.spread == pytest.approx(float((p[200:] - b).square().sum()), rel=1e-9)
    assert result.reference == pytest.approx(float(b), rel=1e-9)
    assert (result.num_selection, result.num_samples, result.truncation) == (200, 2000, 1.5)


def test_the_estimate_is_the_mean_gradient():
    """Stein's sums against the average of gradients, pixel by pixel."""
    result, network = run(60_000), Counting()
    images = next(
        noisy_images(
            torch.full((1, 4, 5), 0.5), GaussianNoise(SIGMA), image_id="x", num_samples=20_000, batch_size=20_000
        )
    )
    gradients = ProbabilityGradient("sum")(network, images, torch.zeros(20_000, dtype=torch.long))
    assert float((result.gradient[0] - gradients.double().mean(0)).abs().max()) < 0.02
    assert float(result.gradient[0, 0, 0]) > 0.5


def test_radii_are_those_of_the_theorems():
    result = run(4000, channels=3)
    n = 3800
    rounding = noise_rounding(SIGMA, 5.0)
    margins = mean_margins(result.square.numpy() / n, n, 0.0095, result.largest, 5.0, rounding) / SIGMA
    smoothed, margin = np.linalg.norm(result.gradient.numpy(), axis=0), np.linalg.norm(margins, axis=0)
    inside = result.inside.numpy().ravel()
    assert (inside == (smoothed >= np.sort(smoothed.ravel())[-3]).ravel()).all()
    lower, upper = np.maximum(smoothed - margin, 0).ravel(), (smoothed + margin).ravel()
    distances = swap_distances(lower, upper, inside)
    spread = spread_upper(result.spread / n, n, 0.0005, result.largest)
    radii = np.where(distances > 0, reach(distances, spread, result.largest, SIGMA), -np.inf)
    np.testing.assert_allclose(result.displacement, radii, rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.003, 0.25, 4.0])
def test_noise_that_is_read_off_is_as_near_to_the_noise_that_was_drawn_as_the_margin_says(sigma):
    image, t = torch.tensor([0.0, 1e-4, 1 / 3, 0.7, 1.0]).view(1, 1, 5), 5.0
    (images,) = noisy_images(image, GaussianNoise(sigma), image_id="a", num_samples=40_000, batch_size=40_000)
    drawn = normal_stream(0, "a", "cpu").fill_(torch.empty(40_000, 5), 0).double().view(-1, 1, 1, 5)
    read = Draw(torch.nn.Identity(), images, 0, image, sigma, lambda *_: images[:, 0]).noise
    off, rho = (read - drawn).abs(), noise_rounding(sigma, t)
    assert float(off[read.abs() <= t].max()) <= rho
    assert float(off[read.abs() <= t].max()) > rho / 10  # of that order
    assert bool((drawn[read.abs() > t].abs() > t - rho).all())


def test_the_margin_of_noise_that_is_read_off_is_less_than_twice_what_rounding_can_do():
    """Standard deviation, product and sum are all rounded by nearly half a unit of their last place, and may add up."""
    sigma, t = 1000.00003, 4.1
    normals = torch.linspace(4.0, 4.0999, 100_000)
    image = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    read = (normals.clone().mul_(sigma).add_(image).double() - image.double()) / sigma
    off = float((read - normals.double()).abs().max())
    assert float(read.abs().max()) <= t
    assert noise_rounding(sigma, t) / 2 < off <= noise_rounding(sigma, t)


def test_margins_allow_for_noise_that_is_read_off_rounded_images():
    """The control: without it they are smaller by the rounding times the largest difference."""
    result = run(4000)
    exact = mean_margins(result.square.numpy() / 3800, 3800, 0.0095, result.largest, 5.0)
    more = result.margins().numpy() * SIGMA - exact
    assert (more >= 0.99 * noise_rounding(SIGMA, 5.0) * result.largest).all()
    claims, margin = result.claims(), result.margins() * SIGMA
    assert torch.equal(claims["mean of noise times probability"], (result.gradient * SIGMA - margin).clamp(min=0))
    upper = result.upper_bounds(result, 0.0095 / 20)
    assert float((upper["the negative of it"] + result.gradient * SIGMA).min()) >= float(exact.min())


@pytest.mark.parametrize("batch_size", [1, 7, 250, "auto"])
def test_blocks_of_any_size_give_the_same_sums(batch_size):
    whole, parts = run(700, batch_size=700), run(700, batch_size=batch_size)
    torch.testing.assert_close(parts.total, whole.total, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts.square, whole.square, rtol=1e-5, atol=1e-5)
    assert parts.reference == pytest.approx(whole.reference, rel=1e-6)


def test_a_result_is_saved_re_derived_and_stated(tmp_path):
    result = run(channels=3)
    result.save(tmp_path / "one")
    loaded = SmoothGradResult.load(tmp_path / "one")
    for one in (loaded, loaded.rederive()):
        for field in attrs.fields(SmoothGradResult):
            mine, theirs = getattr(one, field.name), getattr(result, field.name)
            assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs, field.name
    text = result.statement(0.01)
    assert f"l2 norm at most 0.01, at least {result.overlap(0.01)} of the K = 3" in text
    assert "gradient of the probability of the class (ProbabilityGradient(channels='l2', temperature=1.0))" in text
    assert result.plot().axes[0].get_xlabel() == "l2 radius (pixel units)"


def test_altered_sums_are_refused_or_seen():
    result = run(20_000)
    refused = [
        {"reference": 1.5},
        {"spread": 1e6},
        {"spread": -1.0},
        {"square": result.square * 0 - 1},
        {"square": result.square * 1e-6},
        {"total": result.total * 1e6},
        {"square": result.square + 1e9},
    ]
    for change in refused:
        with pytest.raises(InputError):
            attrs.evolve(result, **change).rederive()
    for change in ({"total": result.total * 0.9}, {"spread": result.spread / 2}, {"alpha": 1e-6}):
        assert not torch.equal(attrs.evolve(result, **change).rederive().displacement, result.displacement)


def test_fresh_noise_tests_the_means():
    result = run(20_000)
    certifier = Certifier(
        ProbabilityGradient(), GaussianNoise(SIGMA), [SmoothGradCertificate(3, 0.01, 200)], 20_000, 500, seed=1
    )
    fresh = certifier(Counting(), torch.full((1, 1, 4, 5), 0.5), [0], ids=["image"])[0]["smoothgrad"]
    claims, allowed = result.claims(), result.upper_bounds(fresh, 1e-4)
    assert claims.keys() == allowed.keys()
    assert sum(int((claim > 0).sum()) for claim in claims.values()) >= 3
    for name in claims:
        assert (claims[name] <= allowed[name]).all()
    invented = attrs.evolve(result, total=-result.total)
    assert any((invented.claims()[name] > allowed[name]).any() for name in claims)


def test_a_flat_probability_certifies_nothing_and_says_why():
    class Sure(Counting):
        def forward(self, images):
            return super().forward(images) * 0.05 + torch.tensor([50.0, -50.0])

    flat = run(4000, network=Sure())
    assert flat.overlap(0.0) == 0
    assert any("hardly varies" in flag for flag in flat.flags)
    assert flat.rederive().flags == flat.flags
    varied = run(20_000, network=Sure(), attribution=ProbabilityGradient(temperature=0.05))
    assert any("hardly varies" in flag for flag in varied.flags)  # a lower temperature makes it worse


def test_a_temperature_unsaturates_a_sure_network():
    class Sure(Counting):
        def forward(self, images):
            score = 20 * (images - 0.5).flatten(1) @ self.weight + 400
            return torch.stack([score, -score], 1)

    assert run(20_000, network=Sure()).overlap(0.0) == 0
    warm = run(20_000, network=Sure(), attribution=ProbabilityGradient(temperature=300.0))
    assert warm.overlap(0.0) > 0


def test_the_smallest_sample_size_is_where_the_steepest_begins_to_work():
    """The steepest smoothed probability there is: a half-space across one pixel."""

    class HalfSpace(Counting):
        def forward(self, images):
            side = torch.where(images.flatten(1)[:, :1] > 0.5, 99.0, -99.0) + 0 * images.flatten(1)[:, :1]
            return torch.cat([side, -side], 1)

    certificate = SmoothGradCertificate(1, 0.01, 50)
    n = certificate.smallest_num_samples(20)
    found = [run(m, network=HalfSpace(), top_k=1, num_selection=50).overlap(0.0) for m in (n, 3 * n)]
    assert found[1] == 1
    with pytest.raises(InputError, match=f"at least {n} samples are needed"):
        run(n - 1, network=HalfSpace(), top_k=1, num_selection=50)


def test_sampling_may_stop_early():
    certifier = Certifier(
        ProbabilityGradient(),
        GaussianNoise(SIGMA),
        {"one": SmoothGradCertificate(3, 0.01, 100), "labels": PixelCertificate([0.5])},
        8192,
        256,
        stopping=[Futility(0.5)],
    )
    result = certifier(Counting(), torch.full((1, 1, 4, 5), 0.5), [0])[0]["one"]
    assert result.alpha_share < 1
    assert result.num_samples < 8192


def test_a_second_image_does_not_see_the_first():
    certificate = SmoothGradCertificate(3, 0.01, 200)
    certifier = Certifier(ProbabilityGradient(), GaussianNoise(SIGMA), [certificate], 1000, 250)
    images = torch.stack([torch.full((1, 4, 5), 0.3), torch.full((1, 4, 5), 0.5)])
    both = certifier(Counting(), images, [0, 0], ids=["other", "image"])
    assert torch.equal(both[1]["smoothgrad"].total, run(1000, batch_size=250).total)


def test_metrics_have_a_name_of_their_own():
    assert list(metrics_for(SmoothGradCertificate(0.2), [0.01])) == ["smoothgrad_overlap_k20_r0_01"]


def test_a_method_of_somebody_else_may_offer_a_score():
    result = run(60_000, attribution=Squared())
    images = next(
        noisy_images(
            torch.full((1, 4, 5), 0.5), GaussianNoise(SIGMA), image_id="x", num_samples=20_000, batch_size=20_000
        )
    )
    scores = Squared().squares(Counting())
    gradients = input_gradient(scores, images, torch.zeros(20_000, dtype=torch.long))[1].double().mean(0)
    assert float((result.gradient - gradients).abs().max()) < 0.02
    assert float(result.gradient[0, 0, 0]) > 0.5
    assert "the gradient of the score in [0, 1] (Squared(channels='l2')) averaged" in result.statement(0.01)


# Refusals -----------------------------------------------------------------------------------------------------------


def test_other_attributions_and_laws_are_refused():
    with pytest.raises(InputError, match="is about the gradient of a probability: use attribution ProbabilityGradient"):
        Certifier(Gradient(), GaussianNoise(SIGMA), [SmoothGradCertificate()])
    with pytest.raises(InputError, match=r"has score\(model, images, targets\) in \[0, 1\]"):
        Certifier(RISE(score="softmax"), GaussianNoise(SIGMA), [SmoothGradCertificate()])
    with pytest.raises(InputError, match="is proved for GaussianNoise, not for UniformBallNoise"):
        Certifier(ProbabilityGradient(), UniformBallNoise(SIGMA), [SmoothGradCertificate()])


def test_maps_alone_are_not_enough():
    certificate = SmoothGradCertificate(3)
    accumulator = certificate.start(GaussianNoise(SIGMA), (4, 5), 20)
    with pytest.raises(InputError, match="needs the noisy images, not only their maps"):
        accumulator.update(torch.rand(5, 4, 5))
    draw = Draw(Counting(), torch.rand(5, 1, 4, 5), 0, torch.zeros(1, 4, 5), SIGMA, Gradient())
    with pytest.raises(InputError, match="not the gradient of a score in"):
        accumulator.update(MapBlock(draw))


def test_half_precision_is_refused():
    method, half = ProbabilityGradient(), torch.float16
    certificate = SmoothGradCertificate(3, num_selection=1)
    accumulator = certificate.start(GaussianNoise(SIGMA), (4, 5), 20)
    images, clean = torch.rand(5, 1, 4, 5).to(half), torch.zeros(1, 4, 5)
    draw = Draw(Counting().to(half), images, 0, clean, SIGMA, method, method.score)
    with pytest.raises(
        InputError, match=r"noise cannot be recovered from torch.float16 images; set precision to 32-true"
    ):
        accumulator.update(MapBlock(draw))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda model, images, targets: model(images)[:, 0] + 3, r"score of Squared must lie in \[0, 1\], got 3 for"),
        (lambda model, images, targets: images.mean((1, 2, 3)) * torch.nan, r"must lie in \[0, 1\], got nan"),
        (lambda model, images, targets: images.mean((1, 2, 3)).softmax(0), r"1 alone and 0\.\d+ beside another image"),
        (lambda model, images, targets: torch.rand(len(images)), "must depend on the image alone"),
        (lambda model, images, targets: model(images).softmax(1), r"one real number for each image, \[B\], got .*2\]"),
        (lambda model, images, targets: 0.5, r"one real number for each image, \[B\], got float"),
        (lambda model, images, targets: images.sub_(0.5).mean((1, 2, 3)), "changes the images in place"),
        (lambda model, images: images.mean((1, 2, 3)), "score cannot score"),
        # Inside [0, 1] for the clean image and where all noise is small, but not everywhere.
        (lambda model, images, targets: images.flatten(1)[:, 7], r"\d+ of 4000 noisy images .* outside \[0, 1\]"),
    ],
)
def test_a_score_that_is_no_score_is_refused(score, message):
    method = Squared()
    method.score = score
    torch.manual_seed(0)
    with pytest.raises(InputError, match=message):
        run(attribution=method)


def test_invalid_probabilities_are_refused():
    class Broken(Counting):
        def forward(self, images):
            logits = super().forward(images)
            logits[(images.flatten(1)[:, 0] > 1.0)] = torch.nan
            return logits

    with pytest.raises(InputError, match=r"\d+ of \d+ noisy images have scores of NaN or infinity"):
        run(network=Broken())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_selection": 0}, "num_selection"),
        ({"truncation": 0.5}, "truncation"),
        ({"alpha": 0.0}, "alpha"),
        ({"num_selection": 5000}, "samples"),
        ({"top_k": 20}, "top_k=20"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        run(4000, **settings)


def test_temperatures_out_of_range_are_refused():
    for temperature in (0.0, -1.0, float("inf")):
        with pytest.raises(InputError, match="temperature must be a positive number"):
            ProbabilityGradient(temperature=temperature)
