"""Stopping early: looks, rules, what is recorded, and that the released result is the one of its look."""

import attrs
import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import (
    Certificate,
    CosineCertificate,
    PixelCertificate,
    TopKOverlapCertificate,
    load_results,
    save_results,
)
from lit_certattr.certification import LOOK_SHARES, AllDecided, Futility, Look, OverlapStable, Seconds, StoppingRule
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics import look_share


class StopAt(StoppingRule):
    """Stops at the look of a number of samples."""

    def __init__(self, num_samples):
        self.num_samples = num_samples

    def __repr__(self):
        return f"StopAt({self.num_samples})"

    def stop(self, looks):
        return looks[-1].num_samples >= self.num_samples


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 3)).eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def certifier(stopping=(), num_samples=512, batch_size=512, certificates=None, **settings):
    certificates = certificates or [PixelCertificate([0.5, 0.25]), TopKOverlapCertificate(0.2)]
    return Certifier(
        Gradient(), GaussianNoise(0.25), certificates, num_samples, batch_size, stopping=stopping, **settings
    )


def tensors(result):
    return {key: value.tolist() for key, value in attrs.asdict(result).items() if isinstance(value, torch.Tensor)}


def test_without_rules_nothing_has_changed(net, image, tmp_path):
    """The certificate of a fixed number of samples: all of alpha, one look, the counts of the plain stream."""
    run = certifier(num_samples=300)
    assert run.looks((8, 8)) == (300,)
    (results,) = run(net, image, ids=["a"])
    assert "stopping" not in run.settings()
    for name, result in results.items():
        assert (result.num_samples, result.alpha, result.alpha_share) == (300, 0.001, 1.0)
        assert "looks" not in result.sampling
        by_hand = run.certificates[name].start(run.noise, (8, 8), 64)
        for block in run.blocks(net, image[0], result.sampling["target"], "a", 0, 300):
            by_hand.update(block)
        assert tensors(by_hand.compute()) == tensors(result)
    save_results(tmp_path / "a", results)
    (again,) = certifier(num_samples=300)(net, image, ids=["a"])
    save_results(tmp_path / "b", again)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_looks_are_powers_of_two_that_can_certify_something():
    run = certifier([Futility()], num_samples=1000)
    looks = run.looks((8, 8))
    assert looks == (32, 64, 128, 256, 512, 1000)
    for certificate in run.certificates.values():
        assert certificate.smallest_num_samples(64, look_share(1, len(looks))) <= looks[0]
    assert certifier([Futility()], num_samples=10).looks((8, 8)) == (10,)  # and that is too few:
    with pytest.raises(InputError, match=r"num_samples=10 certifies nothing.* at least \d+"):
        certifier([Futility()], num_samples=10).check_sample_size((8, 8))
    larger = run.looks((224, 224))
    assert larger[0] >= looks[0]
    assert larger[-1] == 1000


def test_the_released_result_is_that_of_a_fixed_number_at_a_share_of_alpha(net, image):
    """One batch a look, so that rounding is the same: the votes are those of the first 128 samples."""
    run = certifier([StopAt(100)], num_samples=512)
    (results,) = run(net, image, ids=["a"])
    share = look_share(3, len(run.looks((8, 8))))
    assert share == 0.5 / 4
    (fixed,) = certifier(
        num_samples=128,
        certificates=[PixelCertificate([0.5, 0.25], alpha=0.001 * share), TopKOverlapCertificate(0.2, 0.001 * share)],
    )(net, image, ids=["a"])
    for name, result in results.items():
        assert (result.num_samples, result.alpha, result.alpha_share) == (128, 0.001, share)
        assert result.sampling["looks"] == [32, 64, 128, 256, 512]
        assert result.sampling["num_samples"] == 512
        assert result.sampling["stopping"] == ["StopAt(100)"]
        assert result.sampling["look_shares"] == LOOK_SHARES
        assert tensors(result) == tensors(fixed[name])
        assert "0.999" in result.statement()


def test_an_image_that_no_rule_stops_has_half_of_alpha(net, image):
    shares = []

    class Watch(StoppingRule):
        def stop(self, looks):
            shares[:] = [look.results["pixel"].alpha_share for look in looks]
            return False

    (results,) = certifier([Watch()])(net, image, ids=["a"])
    assert shares == [0.125, 0.125, 0.125, 0.125, 0.5]
    assert results["pixel"].alpha_share == 0.5
    halved = [PixelCertificate([0.5, 0.25], alpha=0.0005), TopKOverlapCertificate(0.2, 0.0005)]
    # In the blocks of the looks, so that rounding is the same.
    (fixed,) = certifier(certificates=halved, batch_size=32)(net, image, ids=["a"])
    (again,) = certifier([Watch()], batch_size=32)(net, image, ids=["a"])
    assert [tensors(again[name]) for name in again] == [tensors(fixed[name]) for name in again]


def test_results_of_looks_are_saved_and_rederived(net, image, tmp_path):
    (results,) = certifier([StopAt(100)])(net, image, ids=["a"])
    save_results(tmp_path / "a", results)
    for name, result in load_results(tmp_path / "a").items():
        assert attrs.evolve(result, sampling={}).alpha_share == results[name].alpha_share
        again = result.rederive()
        assert tensors(again) == tensors(results[name])
        assert (again.alpha, again.alpha_share) == (result.alpha, result.alpha_share)
    with pytest.raises(ValueError, match="alpha_share"):
        attrs.evolve(results["pixel"], alpha_share=1.5)


def test_runs_are_repeatable_and_images_stop_apart(net):
    pair = torch.stack([torch.zeros(1, 8, 8), torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))])
    run = certifier([Futility(0.2)], num_samples=1024)
    first, again = run(net, pair, ids=["a", "b"]), run(net, pair.flip(0), ids=["b", "a"])[::-1]
    for one, two in zip(first, again, strict=True):
        assert [tensors(result) for result in one.values()] == [tensors(result) for result in two.values()]
    drawn = []
    run(net, pair, ids=["a", "b"], on_block=drawn.append)
    assert sum(drawn) == sum(results["pixel"].num_samples for results in first)


def test_certificates_that_need_a_fixed_number_are_refused():
    class OneNumber(PixelCertificate):
        anytime = False

    with pytest.raises(InputError, match="pixel does not support early stopping; remove stopping"):
        certifier([Seconds(1)], certificates=[OneNumber()])
    with pytest.raises(InputError, match="OneNumber needs a number of samples"):
        OneNumber().start(GaussianNoise(0.25), (8, 8), share=0.5)
    with pytest.raises(InputError, match="Futility needs a certificate that counts pixels"):
        Futility().check({"cosine": CosineCertificate()})
    with pytest.raises(InputError, match="OverlapStable needs a TopKOverlapCertificate"):
        certifier([OverlapStable()], certificates=[PixelCertificate()])
    with pytest.raises(InputError, match="clocks"):
        certifier([Seconds(1)], certificates=[PixelCertificate(sync_on_compute=True)])
    assert not Certificate.anytime  # a new certificate says so itself
    with pytest.raises(ValueError, match="share"):
        PixelCertificate().start(GaussianNoise(0.25), (8, 8), share=1.5)


class Counted:
    """Stands for a result."""

    def __init__(self, certified, total=100):
        self.certified, self.total = certified, total

    def certified_count(self, radius=0.0):
        return self.certified, self.total


def looks(*counts, seconds=0.0):
    """One look a row of counts."""
    return [
        Look(64 << index, seconds, {f"c{j}": Counted(count) for j, count in enumerate(row)})
        for index, row in enumerate(counts)
    ]


def test_futility():
    rule = Futility(0.05)
    assert not rule.stop(looks([50]))
    assert rule.stop(looks([50], [52]))
    assert rule.stop(looks([50], [50]))
    assert not rule.stop(looks([20], [21]))  # exactly 5 %
    assert not rule.stop(looks([0], [0]))  # nothing yet
    assert not rule.stop(looks([50, 10], [51, 20]))  # every certificate
    assert rule.stop(looks([1, 1], [50, 10], [51, 10]))


def test_all_decided():
    assert AllDecided(0.8).stop(looks([80, 90]))
    assert not AllDecided(0.8).stop(looks([79, 90]))
    assert not AllDecided().stop(looks([99]))
    assert AllDecided().stop(looks([100]))


def test_overlap_stable(net, image):
    run = certifier([OverlapStable(0.0)], num_samples=1048)
    (results,) = run(net, image)
    history = []

    class Watch(StoppingRule):
        def stop(self, looks):
            history[:] = [look.results["topk_overlap"].certified_count()[0] for look in looks]
            return False

    certifier([Watch()], num_samples=1048)(net, image)
    sizes = run.looks((8, 8))
    settled = next(i for i in range(1, len(history)) if history[i] == history[i - 1] > 0)
    assert results["topk_overlap"].num_samples == sizes[settled]


def test_seconds():
    assert not Seconds(10).stop(looks([1], seconds=5.0))
    assert Seconds(10).stop(looks([1], seconds=5.1))  # the next look would end after 10.2


def test_the_first_rule_that_says_so_stops(net, image):
    (results,) = certifier([StopAt(400), StopAt(60)])(net, image)
    assert results["pixel"].num_samples == 64


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (Futility, {"gain": 0}),
        (Futility, {"gain": 1.5}),
        (Futility, {"radius": -1}),
        (AllDecided, {"share": 0}),
        (AllDecided, {"radius": float("nan")}),
        (OverlapStable, {"tolerance": 1}),
        (Seconds, {"limit": 0}),
        (Seconds, {"limit": float("inf")}),
    ],
)
def test_settings_out_of_range(rule, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        rule(**settings)


def overlaps(monkeypatch, *counts, size=100):
    """Looks at which an overlap has so many certified pixels of ``size``."""
    monkeypatch.setattr(OverlapStable, "counts", lambda self, look: {"overlap": (look.seconds, size)})
    result = object.__new__(TopKOverlapCertificate.result)
    return [Look(2**number, count, {"overlap": result}) for number, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("counts", "stops"),
    [
        ((50,), False),
        ((50, 52), True),
        ((50, 53), False),
        ((53, 50), False),
        ((0, 0), False),
        ((0, 1), True),
        ((9, 50, 52), True),
    ],
)
def test_an_overlap_has_settled_when_it_moves_by_no_more_than_the_tolerance(monkeypatch, counts, stops):
    assert OverlapStable(tolerance=0.02).stop(overlaps(monkeypatch, *counts)) is stops
