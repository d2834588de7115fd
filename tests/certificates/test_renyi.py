"""The Renyi certificate: the cost of a swap against a general optimiser, and against random distributions."""

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import (
    RenyiCertificate,
    RenyiResult,
    TopKOverlapCertificate,
    displacement_radii,
    renyi_bounds,
)
from lit_certattr.certificates.renyi_bounds import (
    ORDERS,
    renyi_displacement_radii,
    shortest_shift,
    swap_divergence,
    swap_radius,
)
from lit_certattr.errors import InputError
from lit_certattr.metrics import metrics_for
from lit_certattr.smoothing import GaussianNoise, GeneralisedNormalNoise, MapBlock, uniform_levels


def reach(needed):
    """Gaussian noise of sigma 1, l2."""
    return shortest_shift(needed, GaussianNoise(1.0), 2, 784)


V16 = np.array([0.2, 0.15, 0.12, 0.11, 0.10, 0.09, 0.08, 0.07, 0.05, 0.03])


def divergence(order, p, q):
    """D_order(p || q)."""
    if order == 1:
        return float(np.sum(p * np.log(p / q)))
    with np.errstate(divide="ignore", over="ignore"):
        return float(np.log(np.sum(p**order * q ** (1 - order))) / (order - 1))


def pooled(p, k, k0, order):
    """The formula that pools all insiders and outsiders."""
    pool = p[k - k0 : k + k0]
    level = np.mean(pool ** (1 - order)) ** (1 / (1 - order))
    return -np.log(pool.size * level + 1 - pool.sum())


def test_vectors():
    assert swap_divergence(V16[1:3], V16[3:5], [2.0])[0] == pytest.approx(0.010723963363, abs=1e-12)
    assert pooled(V16, 3, 2, 2.0) == pytest.approx(0.010723963363, abs=1e-12)  # here all are active
    p = np.array([0.30, 0.30, 0.29] + 11 * [0.01])
    assert swap_divergence(p[:2], p[2:4], [2.0])[0] == pytest.approx(0.745757130832, abs=1e-12)
    assert pooled(p, 2, 2, 2.0) == pytest.approx(1.405262263827, abs=1e-12)


def test_the_pooled_formula_exceeds_a_distribution_that_swaps():
    """Why not all are pooled: this Q swaps both pixels and is nearer than the pooled formula says possible."""
    p = np.array([0.30, 0.30, 0.29] + 11 * [0.01])
    q = p.copy()
    level = np.mean(np.r_[0.30, 0.30, 0.01] ** -1.0) ** -1.0
    q[[0, 1, 3]] = level
    q /= q.sum()
    assert q[:2].max() <= q[2:4].min() + 1e-15
    assert divergence(2.0, q, p) == pytest.approx(0.745757130832, abs=1e-9)
    assert divergence(2.0, q, p) < pooled(p, 2, 2, 2.0)


def test_radius_vectors():
    grid = 1 + np.logspace(-3, 3, 241)
    forward = np.sqrt(2 * swap_divergence(V16[1:3], V16[3:5], grid) / grid).max()
    assert forward == pytest.approx(0.105127859, abs=1e-9)
    assert swap_radius(V16[1:3], V16[3:5], reach) > forward  # the reverse divergence is the better one here
    h = 0.002 + 0.9 * np.exp(-np.arange(1000) / 210)
    m = h / h.sum()
    forward = np.sqrt(2 * swap_divergence(m[99:200], m[200:301], grid) / grid).max()
    assert forward == pytest.approx(0.170096213, abs=1e-9)
    assert displacement_radii(h, h, np.arange(1000) < 200, 1.0)[100] == pytest.approx(0.470193342, abs=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_cost_is_the_minimum_over_all_distributions(seed, reverse):
    rng = np.random.default_rng(seed)
    order = float(rng.choice([1.0, 1.3, 2.0, 4.0]))
    p = np.sort(rng.dirichlet(np.full(7, 0.8)))[::-1] + 1e-3
    p /= p.sum()

    def cost(z):
        q = np.exp(np.clip(z, -30, 5))
        if order == 1:
            return np.exp(divergence(1, p, q) if reverse else divergence(1, q, p))
        return np.sum(p**order * q ** (1 - order)) if reverse else np.sum(q**order * p ** (1 - order))

    swaps = [{"type": "ineq", "fun": lambda z, a=a, b=b: z[b] - z[a]} for a in (1, 2) for b in (3, 4)]
    total = {"type": "eq", "fun": lambda z: np.sum(np.exp(np.clip(z, -30, 5))) - 1}
    starts = [np.log(rng.dirichlet(np.ones(7)) + 1e-3) for _ in range(4)]
    options = {"maxiter": 500, "ftol": 1e-13}
    found = [minimize(cost, z, constraints=[total, *swaps], method="SLSQP", options=options) for z in starts]
    best = min(np.log(result.fun) / max(order - 1, order == 1) for result in found if result.success)
    assert swap_divergence(p[1:3], p[3:5], [order], reverse)[0] == pytest.approx(best, rel=1e-5, abs=1e-9)


@given(st.integers(4, 9), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1.0, 1.001, 1.5, 2.0, 8.0]))
@settings(max_examples=150, deadline=None)
def test_no_distribution_swaps_for_less(n, seed, reverse, order):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n, rng.choice([0.3, 1.0, 5.0]))) + 1e-6
    p /= p.sum()
    k0 = int(rng.integers(1, n // 2 + 1))
    insiders, outsiders = np.argsort(-p)[:k0], np.argsort(-p)[k0 : 2 * k0]
    for _ in range(8):
        q = p * np.exp(rng.normal(scale=rng.choice([0.1, 1.0]), size=n))
        level = rng.uniform(q[outsiders].min(), max(q[insiders].max(), q[outsiders].min() + 1e-9))
        q[insiders], q[outsiders] = np.minimum(q[insiders], level), np.maximum(q[outsiders], level)
        q /= q.sum()
        actual = divergence(order, p, q) if reverse else divergence(order, q, p)
        assert actual >= swap_divergence(p[insiders], p[outsiders], [order], reverse)[0] - 1e-9


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=200, deadline=None)
def test_bounds_may_be_put_in_for_the_probabilities(seed, reverse):
    rng = np.random.default_rng(seed)
    p = np.sort(rng.dirichlet(np.ones(8)))[::-1]
    exact = swap_divergence(p[1:4], p[4:7], ORDERS, reverse)
    lower, upper = p[1:4] * rng.uniform(0.3, 1, 3), p[4:7] * rng.uniform(1, 3, 3)
    assert (swap_divergence(lower, upper, ORDERS, reverse) <= exact * (1 + 1e-9) + 1e-12).all()


def test_neither_theorem_contains_the_other():
    """Neyman and Pearson's lemma needs no mass, but does not know that the scores of all pixels add up."""
    spread = 0.002 + 0.9 * np.exp(-np.arange(100) / 21)
    few = np.array([0.44, 0.42, 0.41, 0.38, 0.25, 0.07, 0.06, 0.06, 0.03, 0.02, 0.02, 0.02])
    for h, size, swaps, better in ((spread, 20, 10, False), (few, 4, 4, True)):
        inside = np.arange(h.size) < size
        renyi = renyi_displacement_radii(h / h.sum(), h / h.sum(), inside, reach)[swaps - 1]
        assert (renyi > displacement_radii(h, h, inside, 1.0)[swaps - 1]) == better


def test_outcomes_without_probability():
    assert swap_radius([0.5], [0.0], reach) > 0.8
    assert swap_radius([0.0], [0.0], reach) == 0
    assert swap_radius([0.1], [0.1], reach) == 0
    radii = renyi_displacement_radii([0.3, 0.3, 0.2], [0.3, 0.3, 0.2], [True, True, False], reach)
    assert radii[0] > 0
    assert radii[1] == np.inf  # one outsider cannot displace two pixels


def test_many_pixels_are_rounded_down_to_a_grid(monkeypatch):
    m = np.sort(np.random.default_rng(0).dirichlet(np.full(100, 0.5)))[::-1]
    exact = renyi_displacement_radii(m, m, np.arange(100) < 40, reach)
    monkeypatch.setattr(renyi_bounds, "_STEPS", 10)
    coarse = renyi_displacement_radii(m, m, np.arange(100) < 40, reach)
    assert (coarse <= exact).all()
    assert (coarse == exact).sum() >= 9
    assert (np.diff(coarse[np.isfinite(coarse)]) >= 0).all()


def some_maps(num_samples=500):
    generator = torch.Generator().manual_seed(0)
    return torch.linspace(0, 1, 30).view(5, 6) ** 3 + 0.05 * torch.randn(num_samples, 5, 6, generator=generator)


@pytest.mark.parametrize("scores", ["linear", "uniform"])
def test_a_result_is_an_overlap_that_can_be_saved_and_re_derived(scores, tmp_path):
    certificate = RenyiCertificate(top_k=6, alpha=0.05, scores=scores)
    accumulator = certificate.start(GaussianNoise(0.25), (5, 6))
    accumulator.update(MapBlock(some_maps(), 0, uniform_levels(0, "image", 0, 500)))
    result = accumulator.compute()
    assert result.overlap(0.0) > 0
    assert result.displacement[-1] > 0
    result.save(tmp_path / "one")
    again = RenyiResult.load(tmp_path / "one").rederive()
    assert torch.equal(again.displacement, result.displacement)
    assert ("linearly over the top 6 ranks" in again.statement()) == (scores == "linear")


def test_linear_scores_are_counted_as_masks_of_every_size():
    maps = torch.arange(30.0).view(1, 5, 6).expand(6000, 5, 6)
    levels = (torch.arange(6000) + 0.5) / 6000
    masks = MapBlock(maps, levels=levels).level_masks("ranked", 6)
    assert torch.equal(masks.sum((1, 2)).bincount(), torch.tensor([0] + 6 * [1000]))
    share = masks.double().mean(0).flatten()[-6:]
    torch.testing.assert_close(share, torch.arange(1, 7).double() / 6)


def test_in_a_run():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    run = Certifier(Gradient(), GaussianNoise(0.25), [RenyiCertificate(0.25, 0.05)], 200)
    result = run(net, torch.rand(1, 1, 4, 4))[0]["renyi"]
    assert result.overlap(0.01) == 4  # the map of a linear network does not change
    assert result.kind == "renyi"
    assert result.dimension == 16


def test_a_finer_grid_of_orders_gives_hardly_larger_radii(monkeypatch):
    rng, fine = np.random.default_rng(0), 1 + np.r_[0, np.logspace(-4, 4, 400)]
    for _ in range(50):
        m = np.sort(rng.dirichlet(np.full(12, rng.choice([0.3, 1.0]))))[::-1]
        radius = swap_radius(m[1:4], m[4:7], reach)
        with monkeypatch.context() as patch:
            patch.setattr(renyi_bounds, "ORDERS", fine)
            divergences = (swap_divergence(m[1:4], m[4:7], fine, side) for side in (False, True))
            finer = reach(np.maximum(*divergences))
        assert radius <= finer * (1 + 1e-4)
        assert finer <= 1.006 * radius


@pytest.mark.parametrize(("noise", "norm"), [(GeneralisedNormalNoise(0.25, 4), "l4"), (GaussianNoise(0.25), "linf")])
def test_a_result_of_another_norm_says_so_and_comes_back(noise, norm, tmp_path):
    certificate = RenyiCertificate(top_k=6, alpha=0.05, radius_norm=norm)
    accumulator = certificate.start(noise, (5, 6), 90)
    accumulator.update(MapBlock(some_maps(), 0, uniform_levels(0, "image", 0, 500)))
    result = accumulator.compute()
    assert (result.radius_norm, result.s, result.dimension) == (norm, getattr(noise, "s", 2), 90)
    result.save(tmp_path / "one")
    again = RenyiResult.load(tmp_path / "one").rederive()
    assert torch.equal(again.displacement, result.displacement)
    assert (again.radius_norm, again.law.sigma) == (norm, 0.25)
    assert f"with {norm} norm below" in again.statement()
    assert ("exponent s = 4" in again.statement()) == (norm == "l4")
    relabelled = attrs.evolve(result, radius_norm="l8").rederive()  # another name gives other radii
    assert not torch.equal(relabelled.displacement, result.displacement)


def test_norms_below_that_of_the_noise_are_refused():
    certificate = RenyiCertificate()  # l2
    with pytest.raises(
        InputError, match=r"s=4\) RenyiCertificate is proved for radius_norm l4 and above, up to linf, not"
    ):
        Certifier(Gradient(), GeneralisedNormalNoise(0.25, 4), [certificate])
    RenyiCertificate(radius_norm="linf").start(GeneralisedNormalNoise(0.25, 4), (5, 6), 30)
    with pytest.raises(InputError, match=r"linf needs start\(noise, map_shape, dimension\)"):
        RenyiCertificate(radius_norm="linf").start(GaussianNoise(0.25), (5, 6))


@pytest.mark.parametrize("norm", ["l1", "2", "l0.5", "linfinity", "max", "l-2"])
def test_unknown_norms_are_refused(norm):
    with pytest.raises(InputError, match="radius_norm must be l2, l4"):
        RenyiCertificate(radius_norm=norm)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="scores must be one of linear"):
        RenyiCertificate(scores="cubic")


def test_its_metrics_have_names_of_their_own():
    assert list(metrics_for(RenyiCertificate(0.2), [0.1])) == ["renyi_overlap_k20_r0_10"]
    assert list(metrics_for(TopKOverlapCertificate(0.2), [0.1])) == ["overlap_k20_r0_10"]


def test_each_radius_takes_the_next_outsider_and_skips_none():
    means = np.array([0.2, 0.18, 0.16, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.01])
    radii = renyi_displacement_radii(means, means, np.arange(10) < 3, reach)
    expected = [swap_radius(means[3 - m : 3], means[3 : 3 + m], reach) for m in (1, 2, 3)]
    np.testing.assert_allclose(radii, expected, rtol=1e-12)


@pytest.mark.parametrize(("top_k", "sparsity"), [(0.5, 0.1), (0.5, 1), (0.9, 0.3), (0.2, 0.5), (1, None)])
def test_figures_end_at_a_radius_also_if_fewer_pixels_have_votes_than_are_shown(top_k, sparsity):
    certificate = RenyiCertificate(top_k, alpha=0.9, sparsity=sparsity, ties="positive")
    accumulator = certificate.start(GaussianNoise(0.1), (8, 8), 64)
    accumulator.update(MapBlock(torch.randn(40, 8, 8), 0, uniform_levels(0, "a", 0, 40)))
    assert 0 < accumulator.compute().longest_radius() < np.inf
