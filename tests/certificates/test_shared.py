"""A certificate is settings: whoever uses it, and however often, it stays what it is."""

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
import torch

from lit_certattr.certificates import (
    CosineCertificate,
    PixelCertificate,
    RenyiCertificate,
    SmoothGradCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.errors import InputError
from lit_certattr.smoothing import Draw, GaussianNoise, MapBlock, UniformBallNoise, uniform_levels

PAGE = Path(__file__).parents[2] / "docs" / "certificates.md"
NOISE, SHAPE = GaussianNoise(0.25), (5, 6)
MAKE = {
    "pixel": lambda: PixelCertificate([0.5, 0.2], alpha=0.05),
    "holm": lambda: PixelCertificate([0.5], alpha=0.05, tau=0.75, correction="holm"),
    "topk_overlap": lambda: TopKOverlapCertificate(0.2, alpha=0.05),
    "pairs": lambda: TopKOverlapCertificate(0.2, alpha=0.05, num_selection=50, pairs=3),
    "ranked": lambda: TopKOverlapCertificate(0.2, alpha=0.05, map_kind="ranked", num_selection=50),
    "renyi": lambda: RenyiCertificate(0.2, alpha=0.05),
    "cosine": lambda: CosineCertificate(alpha=0.05, num_selection=32),
    "smoothgrad": lambda: SmoothGradCertificate(0.2, alpha=0.05, num_selection=32),
}
each = pytest.mark.parametrize("name", MAKE)


def blocks(seed=0, num_samples=300, size=70):
    """Blocks of one image, of which every certificate can count something."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.linspace(-1, 1, 30).view(1, *SHAPE)
    images = pattern + 0.25 * torch.randn(num_samples, 1, *SHAPE, generator=generator)
    for start in range(0, num_samples, size):
        part = images[start : start + size]
        draw = Draw(
            torch.nn.Identity(),
            part,
            0,
            pattern,
            0.25,
            lambda _, x, __: x[:, 0],
            lambda _, x, __: x.mean((1, 2, 3)).sigmoid(),
        )
        yield MapBlock(draw, start, uniform_levels(seed, "image", start, len(part)))


def fed(accumulator, seed=0):
    for block in blocks(seed):
        accumulator.update(block)
    return accumulator


def plain(result):
    return {
        field.name: value.tolist() if isinstance(value := getattr(result, field.name), torch.Tensor) else value
        for field in attrs.fields(type(result))
    }


@each
def test_no_setting_can_be_changed(name):
    certificate = MAKE[name]()
    before = certificate.settings()
    for setting, value in before.items():
        with pytest.raises(InputError, match=f"{setting} of a .* cannot be changed: make a new"):
            setattr(certificate, setting, value)
    assert certificate.settings() == before


@each
def test_certificates_of_equal_settings_are_equal_and_others_are_not(name):
    certificate = MAKE[name]()
    twins = [MAKE[name](), copy.deepcopy(certificate), pickle.loads(pickle.dumps(certificate))]
    assert all(twin == certificate and hash(twin) == hash(certificate) for twin in twins)
    assert len({certificate, *twins}) == 1
    others = [type(certificate)(**certificate.settings() | {"alpha": 0.01})]
    others += [make() for other, make in MAKE.items() if other != name]
    assert certificate not in others
    assert certificate != certificate.settings()


def test_a_subclass_is_another_certificate():
    class Mine(PixelCertificate):
        pass

    assert Mine() != PixelCertificate()
    assert Mine() == Mine()


@each
def test_no_use_changes_a_certificate(name):
    certificate = MAKE[name]()
    before = pickle.dumps(certificate)
    certificate.smallest_num_samples(30, 0.25)
    certificate.check_noise(NOISE)
    certificate.check_slack(NOISE, 300, 30, 0.25)
    certificate.fixed(NOISE, SHAPE, 30, 300, 0.25)
    certificate.conditions()
    accumulator = fed(certificate.start(NOISE, SHAPE, 30, 0.5))
    accumulator.compute()
    accumulator.result(0.25)
    accumulator.reset()
    assert pickle.dumps(certificate) == before


@each
def test_a_look_does_not_disturb_what_was_counted(name):
    certificate = MAKE[name]()
    watched, alone = certificate.start(NOISE, SHAPE, 30), certificate.start(NOISE, SHAPE, 30)
    for number, block in enumerate(blocks()):
        watched.update(block)
        alone.update(block)
        if number:
            for share in (0.5, 0.125, 1.0, 0.5):
                watched.result(share)
    assert plain(watched.compute()) == plain(alone.compute())


@each
@pytest.mark.parametrize("share", [1.0, 0.5, 0.03])
def test_one_accumulator_answers_at_every_share_as_one_that_was_started_at_it(name, share):
    certificate = MAKE[name]()
    accumulator = fed(certificate.start(NOISE, SHAPE, 30))
    asked, started = accumulator.result(share), fed(certificate.start(NOISE, SHAPE, 30, share)).compute()
    assert asked.alpha_share == share
    assert plain(asked) == plain(started)
    assert plain(accumulator.compute()) == plain(fed(certificate.start(NOISE, SHAPE, 30)).compute())


@each
def test_a_smaller_share_never_says_more(name):
    accumulator = fed(MAKE[name]().start(NOISE, SHAPE, 30))
    shares = [accumulator.result(share) for share in (1.0, 0.25)]
    if name == "cosine":
        assert shares[1].norm < shares[0].norm
    else:
        assert shares[1].certified_count(0.01)[0] <= shares[0].certified_count(0.01)[0]


@each
def test_two_accumulators_of_one_certificate_do_not_mix(name):
    certificate = MAKE[name]()
    one, other = certificate.start(NOISE, SHAPE, 30), certificate.start(NOISE, SHAPE, 30, 0.5)
    for first, second in zip(blocks(1), blocks(2), strict=True):
        one.update(first)
        other.update(second)
    assert plain(one.compute()) == plain(fed(MAKE[name]().start(NOISE, SHAPE, 30), 1).compute())
    assert plain(other.compute()) == plain(fed(MAKE[name]().start(NOISE, SHAPE, 30, 0.5), 2).compute())


@each
def test_threads_may_share_a_certificate(name):
    certificate = MAKE[name]()

    def job(seed):
        return plain(fed(certificate.start(NOISE, SHAPE, 30, 1 / (1 + seed)), seed).compute())

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(job, range(8)))
    assert together == [
        plain(fed(MAKE[name]().start(NOISE, SHAPE, 30, 1 / (1 + seed)), seed).compute()) for seed in range(8)
    ]


@each
@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_that_no_look_has_is_refused(name, share):
    certificate = MAKE[name]()
    with pytest.raises(InputError, match=r"share must lie in \(0, 1\]"):
        certificate.start(NOISE, SHAPE, 30, share)
    with pytest.raises(InputError, match=r"share must lie in \(0, 1\]"):
        fed(certificate.start(NOISE, SHAPE, 30)).result(share)


@pytest.mark.parametrize(
    ("map_shape", "message"),
    [
        ((1, 5, 6), r"map_shape must be the height and the width of a map, e.g. \(28, 28\), got \(1, 5, 6\)"),
        (28, "map_shape must be a list"),
        ((5, 6.0), "the width of maps must be a whole number"),
        ((0, 6), "the height of maps must be at least 1"),
    ],
)
@each
def test_a_shape_that_is_none_of_a_map_is_refused(name, map_shape, message):
    with pytest.raises(InputError, match=message):
        MAKE[name]().start(NOISE, map_shape, 30)


def test_a_certificate_of_one_look_is_asked_once():
    class OneNumber(PixelCertificate):
        anytime = False

    accumulator = fed(OneNumber().start(NOISE, SHAPE, 30))
    assert accumulator.result(1.0).alpha_share == 1
    with pytest.raises(InputError, match="OneNumber needs a number of samples that is fixed in advance"):
        accumulator.result(0.5)


def test_a_result_that_could_not_be_concluded_leaves_the_samples():
    accumulator = CosineCertificate(num_selection=64).start(UniformBallNoise(0.25), SHAPE, 30)
    first, *rest = blocks(size=60)
    accumulator.update(first)
    with pytest.raises(InputError, match="only choose a direction"):
        accumulator.result(0.5)
    for block in rest:
        accumulator.update(block)
    whole = CosineCertificate(num_selection=64).start(UniformBallNoise(0.25), SHAPE, 30)
    for block in blocks(size=60):
        whole.update(block)
    assert plain(accumulator.result(0.5)) == plain(whole.result(0.5))


def test_the_examples_of_the_page_run(capsys):
    found = {}
    for example in re.findall(
        r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL
    ):  # each has the names of those before
        exec(example, found)
    assert found["result"].num_samples == 500
    assert "0.999" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cosine", "smoothgrad"])
def test_a_device_without_float64_is_refused(name):
    with pytest.raises(InputError, match="needs float64, which mps does not have; use cpu or cuda"):
        MAKE[name]().check_device(torch.device("mps"))
    MAKE["pixel"]().check_device(torch.device("mps"))
