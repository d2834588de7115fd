"""Verdicts about perturbed images: right as often as they say, and able to contradict a certificate that is false."""

import attrs
import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, RenyiCertificate, TopKOverlapCertificate
from lit_certattr.robustness import Evaluation, evaluate_candidates, quantities
from lit_certattr.smoothing import GaussianNoise, MapBlock, top_k_mask

TRIALS = 150
SAMPLES = 60
ERROR = 0.2


def certificate_of(kind, maps, **settings):
    certificate = kind(**settings)
    accumulator = certificate.start(GaussianNoise(0.25), tuple(maps.shape[1:]), maps[0].numel())
    accumulator.update(MapBlock(maps))
    return accumulator.compute()


def two_masks(probability, generator, count):
    """Maps of 2x2 pixels: with this probability the top 2 are the first row, else the second column."""
    first = torch.tensor([[2.0, 3.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 3.0], [0.0, 2.0]])
    chosen = torch.rand(count, generator=generator) < probability
    return torch.where(chosen.view(-1, 1, 1), first, second)


def rate_of_errors(probability, name, truth):
    generator = torch.Generator().manual_seed(0)
    stored = {
        "pixel": certificate_of(PixelCertificate, two_masks(0.9, generator, 400), top_k=(2,)),
        "overlap": certificate_of(TopKOverlapCertificate, two_masks(0.9, generator, 400), top_k=2, uncovered=[0]),
    }
    quantity = next(one for one in quantities(stored) if one.name == name)
    wrong = decided = 0
    for _ in range(TRIALS):
        upper = []
        for law in (0.9, probability):  # the clean image, and a perturbed one
            maps = two_masks(law, generator, SAMPLES)
            fresh = {
                "pixel": certificate_of(PixelCertificate, maps, top_k=(2,)),
                "overlap": certificate_of(TopKOverlapCertificate, maps, top_k=2, uncovered=[0]),
            }
            verdict = quantity.judge(Evaluation(fresh, {}, {}), ERROR / 2)
            assert (verdict.kept <= verdict.upper).all()
            upper.append(verdict.upper)
        least = float(torch.stack(upper).amin(0).sum())
        wrong += least < truth
        decided += least <= truth
    return wrong / TRIALS, decided / TRIALS


@pytest.mark.slow
@pytest.mark.parametrize("probability", [0.51, 0.55, 0.7])
@pytest.mark.parametrize(("name", "truth"), [("important", 2), ("unimportant", 2), ("overlap", 2)])
def test_what_is_kept_is_hardly_ever_said_to_be_lost(name, truth, probability):
    """Pixel 0 keeps a majority, and stays above pixel 3: the bound must not fall below that, but with rate ERROR."""
    wrong, _ = rate_of_errors(probability, name, truth)
    assert wrong <= ERROR + 3 * (ERROR / TRIALS) ** 0.5


@pytest.mark.parametrize(("name", "truth"), [("important", 1), ("unimportant", 1), ("overlap", 1)])
def test_what_is_lost_is_seen_to_be_lost(name, truth):
    wrong, decided = rate_of_errors(0.1, name, truth)
    assert wrong == 0
    assert decided > 0.99


@pytest.mark.parametrize("nonnegative", [True, False])
def test_the_bound_of_a_cosine_holds_as_often_as_it_says(nonnegative):
    """Maps that are one of three unit vectors: the smoothed maps, and their cosine, are known."""
    corners = torch.eye(3).view(3, 1, 3) * torch.tensor([[[5.0, 1.0, 0.2]]])
    here, there = torch.tensor([0.8, 0.15, 0.05]), torch.tensor([0.2, 0.75, 0.05])
    truth = float(nn.functional.cosine_similarity(here, there, dim=0))
    generator = torch.Generator().manual_seed(0)

    def draw(law, count):
        return corners[torch.multinomial(law, count, replacement=True, generator=generator)]

    settings = {"alpha": 0.05, "nonnegative": nonnegative, "num_selection": 16}
    quantity = next(quantities({"cosine": certificate_of(CosineCertificate, draw(here, 200), **settings)}))
    uppers, estimates = [], []
    for _ in range(TRIALS):
        maps, moved = draw(here, 400), draw(there, 400)
        unit = [nn.functional.normalize(one.flatten(1).double(), dim=1) for one in (maps, moved)]
        evaluation = Evaluation(
            {"cosine": certificate_of(CosineCertificate, moved, **settings)},
            {"cosine": certificate_of(CosineCertificate, maps, **settings)},
            {"cosine": (unit[0] * unit[1]).sum(1)},
        )
        verdict = quantity.judge(evaluation, ERROR)
        uppers.append(float(verdict.upper))
        estimates.append(float(verdict.kept))
    uppers, estimates = torch.tensor(uppers), torch.tensor(estimates)
    assert (uppers < truth).float().mean() <= ERROR + 3 * (ERROR / TRIALS) ** 0.5
    assert uppers.mean() < (0.9 if nonnegative else 1.0)
    assert abs(estimates.mean() - truth) < 4 * estimates.std() / TRIALS**0.5 + 0.003


def test_the_clean_image_has_cosine_one():
    maps = torch.rand(500, 4, 4, generator=torch.Generator().manual_seed(0))
    result = certificate_of(CosineCertificate, maps, nonnegative=True)
    (quantity,) = quantities({"cosine": result})
    products = torch.full((500,), float(result.products.mean()), dtype=torch.float64)
    verdict = quantity.judge(Evaluation({"cosine": result}, {"cosine": result}, {"cosine": products}), 0.01)
    assert float(verdict.kept) == 1
    assert float(verdict.upper) == 1


@pytest.mark.parametrize("name", ["important", "unimportant", "overlap"])
def test_a_false_certificate_is_contradicted_and_a_true_one_is_not(name):
    generator = torch.Generator().manual_seed(0)
    kinds = {"pixel": (PixelCertificate, {"top_k": (2,)}), "overlap": (TopKOverlapCertificate, {"top_k": 2})}
    honest, fresh = (
        {key: certificate_of(kind, two_masks(p, generator, 400), **settings) for key, (kind, settings) in kinds.items()}
        for p in (0.9, 0.1)
    )
    pixel, overlap = honest["pixel"], honest["overlap"]
    false = {
        "pixel": attrs.evolve(pixel, radius=torch.where(pixel.radius > 0, 9.0, 0.0)),
        "overlap": attrs.evolve(overlap, displacement=torch.full_like(overlap.displacement, 9.0)),
    }
    for results, expected in ((honest, 0), (false, 1)):
        quantity = next(one for one in quantities(results) if one.name == name)
        verdict = quantity.judge(Evaluation(fresh, {}, {}), 1e-6)
        assert quantity.contradicted(verdict, 5.0) == expected
        assert quantity.contradicted(verdict, 10.0) == 0, "nothing is claimed there"


def test_a_false_cosine_is_contradicted():
    generator = torch.Generator().manual_seed(0)
    corners = torch.eye(2).view(2, 1, 2)

    def draw(first):
        return corners[(torch.rand(2000, generator=generator) > first).int()]

    here, there, again = draw(0.95), draw(0.05), draw(0.95)
    results = {"cosine": certificate_of(CosineCertificate, here, nonnegative=True)}
    (quantity,) = quantities(results)
    evaluation = Evaluation(
        {"cosine": certificate_of(CosineCertificate, there, nonnegative=True)},
        {"cosine": certificate_of(CosineCertificate, again, nonnegative=True)},
        {"cosine": (there * again).sum((1, 2)).double()},
    )
    verdict = quantity.judge(evaluation, 1e-6)
    assert quantity.certified(0.001) > float(verdict.upper)
    assert quantity.contradicted(verdict, 0.001) == 1, "a shift of that size cannot turn the map: the premise is false"
    assert quantity.contradicted(verdict, 5.0) == 0


@pytest.mark.slow
def test_the_least_of_many_estimates_is_not_picked_by_noise():
    """Twenty images of one law: what is left of each is the same, so the worst one must leave no less."""
    generator = torch.Generator().manual_seed(0)
    kinds = {"pixel": (PixelCertificate, {"top_k": (2,)}), "overlap": (TopKOverlapCertificate, {"top_k": 2})}

    def draw(count):
        maps = two_masks(0.6, generator, count)
        return {key: certificate_of(kind, maps, **settings) for key, (kind, settings) in kinds.items()}

    stored = {
        key: certificate_of(kind, two_masks(0.9, generator, 400), **settings) for key, (kind, settings) in kinds.items()
    }
    important, _, overlap = quantities(stored)
    least = {important: [], overlap: []}
    for _ in range(60):
        evaluations = [Evaluation({}, {}, {}, [(draw(20), {}), (draw(20), {})]) for _ in range(20)]
        for quantity, found in least.items():
            found.append(quantity.least(evaluations))
    # Pixel 0 has a majority of 20 samples with probability P[Bin(20, 0.6) > 10] = .755, pixel 1 always, pixel 3 with
    # P[Bin(20, 0.4) > 10] = .127, in all 1.88. Where noise picks the least, one is left.
    assert sum(least[important]) / 60 > 1.7
    assert sum(least[overlap]) / 60 > 1.6


# --- evaluation -----------------------------------------------------------------------------------------------


def test_evaluation_counts_what_the_certifier_counts(trained_digits):
    net, images, targets = trained_digits
    certificates = [PixelCertificate(top_k=(0.2,)), TopKOverlapCertificate(0.2), CosineCertificate(nonnegative=True)]
    certifier = Certifier(Gradient(), GaussianNoise(0.1), certificates, num_samples=300, batch_size=64, seed=5)
    points = [images[1], images[2]]
    blocks = []
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    evaluations = evaluate_candidates(certifier, net, images[0], points, int(targets[0]), "digit", blocks.append)
    assert sum(blocks) == 3 * 300
    expected = certifier(net, torch.stack([images[0], *points]), targets[[0, 0, 0]], ["digit", "digit+0", "digit+1"])
    for evaluation, there in zip(evaluations, expected[1:], strict=True):
        assert torch.equal(evaluation.results["pixel"].votes, there["pixel"].votes)
        assert torch.equal(evaluation.results["topk_overlap"].votes, there["topk_overlap"].votes)
        assert torch.allclose(evaluation.results["cosine"].projections, there["cosine"].projections)
        assert torch.allclose(evaluation.clean["cosine"].mean, expected[0]["cosine"].mean)
        (first, _), (second, clean) = evaluation.halves
        for name in ("pixel", "topk_overlap"):
            assert torch.equal(first[name].votes + second[name].votes, there[name].votes)
            assert first[name].num_samples == second[name].num_samples == 150
        assert clean["cosine"].num_samples == 150
        products = evaluation.products["cosine"]
        assert products.shape == (300,)
        whole = float((there["cosine"].mean * expected[0]["cosine"].mean).sum())
        assert abs(float(products.mean()) - whole) < 4 * float(products.std()) / 300**0.5
    for parameter in net.parameters():
        parameter.requires_grad_(True)


def test_the_set_that_is_judged_is_the_released_one():
    maps = torch.rand(50, 3, 3, generator=torch.Generator().manual_seed(0))
    result = certificate_of(TopKOverlapCertificate, maps, top_k=3)
    (quantity,) = quantities({"overlap": result})
    other = certificate_of(TopKOverlapCertificate, maps.flip(2), top_k=3)
    kept = int((top_k_mask(other.votes, 3) & result.inside).sum())
    assert float(quantity.judge(Evaluation({"overlap": other}, {}, {}), 0.1).kept) == kept


def test_radii_of_another_norm_are_left_to_attacks_of_that_norm():
    """An l2 attack of length r says nothing about an l-infinity radius r."""
    maps = torch.rand(50, 2, 2, generator=torch.Generator().manual_seed(0))
    stored = {
        norm: certificate_of(RenyiCertificate, maps, top_k=2, scores="uniform", radius_norm=norm)
        for norm in ("l2", "linf")
    }
    assert [(one.certificate, one.kind) for one in quantities(stored)] == [("l2", "renyi")]
