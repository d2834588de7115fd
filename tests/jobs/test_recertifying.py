"""More certificates from the counts of a finished run."""

import json

import pytest
import torch

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import ProbabilityGradient
from lit_certattr.audit.audit import audit_run
from lit_certattr.certificates import (
    Certificate,
    ClaimCertificate,
    CosineCertificate,
    PercentileCertificate,
    PixelCertificate,
    PredictionCertificate,
    RenyiCertificate,
    SmoothGradCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.certificates.recertified import recertified
from lit_certattr.certification.stopping import Futility
from lit_certattr.cli.certify import main
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.settings.discovery import is_own, subclasses
from lit_certattr.smoothing import GaussianNoise, MapBlock

CPU = jobs.TrainerOptions(accelerator="cpu", devices=1)
SETTINGS = {"trainer": CPU, "progress": False, "max_images": 2, "max_panels": 1}


def kinds(alpha=0.2, tau=0.5):
    return {
        "pixel": PixelCertificate([0.5, 0.25], alpha=alpha, tau=tau),
        "holm": PixelCertificate([0.5], alpha=alpha, tau=tau + 0.2, correction="holm"),
        "overlap": TopKOverlapCertificate(0.25, alpha=alpha),
        "selected": TopKOverlapCertificate(0.25, alpha=alpha, num_selection=10),
        "pairs": TopKOverlapCertificate(0.25, alpha=alpha, num_selection=10, pairs=3),
        "renyi": RenyiCertificate(0.25, alpha=alpha),
        "cosine": CosineCertificate(alpha=alpha, num_selection=20),
        "smoothgrad": SmoothGradCertificate(0.25, alpha=alpha, num_selection=20),
        "claim": ClaimCertificate(alpha=alpha),
        "hoeffding": ClaimCertificate(alpha=alpha, bound="clopper_pearson"),
        "percentile": PercentileCertificate(alpha=alpha),
        "prediction": PredictionCertificate(alpha=alpha),
    }


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmallCNN(image_size=8, num_classes=10).eval()


def certifier(certificates, num_samples=200, **settings):
    return Certifier(ProbabilityGradient(), GaussianNoise(0.1), certificates, num_samples=num_samples, **settings)


def same(one, two):
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(7), two.nan_to_num(7)) if one.is_floating_point() else torch.equal(one, two)
    return one == two or (one != one and two != two)


def test_every_kind_is_here():
    named = {type(one) for one in kinds().values()}
    assert named == {kind for kind in subclasses(Certificate) if is_own(kind)}


def test_each_kind_becomes_what_sampling_with_the_new_settings_gives(network):
    """Not only the labels: every field, since nothing that a result holds may depend on the alpha of its sampling."""
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    (first,) = certifier(kinds(0.2), 600)(network, image, ids=["a"])
    (second,) = certifier(kinds(0.05, 0.6), 600)(network, image, ids=["a"])
    for name, certificate in kinds(0.05, 0.6).items():
        again = recertified(first[name], certificate, GaussianNoise(0.1), (8, 8), 64)
        for field in type(again).__attrs_attrs__:
            assert same(getattr(again, field.name), getattr(second[name], field.name)), (name, field.name)


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    place = tmp_path_factory.mktemp("recertify") / "run"
    return jobs.run(certifier([PixelCertificate([0.5], alpha=0.001)]), Digits(), network, output=place, **SETTINGS)


def content(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_the_new_run_is_the_one_that_sampling_would_have_written(run, network, tmp_path):
    before = content(run.path)
    new = jobs.recertify(run.path, tmp_path / "new", alpha=0.05, tau=0.75)
    certificates = [PixelCertificate([0.5], alpha=0.05, tau=0.75)]
    sampled = jobs.run(certifier(certificates), Digits(), network, output=tmp_path / "sampled", **SETTINGS)
    assert content(run.path) == before
    one, two = content(new.path), content(sampled.path)
    assert {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)} <= {
        new.provenance_file.relative_to(new.path)
    }
    assert new.provenance()["settings"] == sampled.provenance()["settings"]
    assert audit_run(new).findings == []
    said = new.provenance()["recertified"]
    assert said["from"] == run.provenance()["fingerprint"]
    assert (said["alpha"], said["tau"]) == (0.05, 0.75)
    assert "the best of several, chosen after looking, does not hold" in said["note"]


@pytest.fixture(scope="module")
def groups_of_two():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "group_size", 2)
        yield SETTINGS | {"max_images": 5}


@pytest.fixture(scope="module")
def packed(groups_of_two, network, tmp_path_factory):
    """A run of five images in groups of two, and one with another alpha."""
    place = tmp_path_factory.mktemp("packed")
    for name, alpha in (("run", 0.001), ("sampled", 0.05)):
        certificates = [PixelCertificate([0.5], alpha=alpha)]
        jobs.run(certifier(certificates), Digits(), network, output=place / name, **groups_of_two)
    return place


def unequal(one, two):
    """Names of the files that differ, except the record, which has times."""
    first, second = content(one), content(two)
    names = {name.as_posix() for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
    return names - {"provenance.json"}


def test_full_groups_are_packed_as_a_run_packs_them(packed, tmp_path):
    new = jobs.recertify(packed / "run", tmp_path / "new", alpha=0.05)
    files = sorted(path.name for path in new.maps.iterdir())
    assert files[:2] == ["00000.zip", "00001.zip"]
    assert len(files) == 3, "the last image has no group"
    assert unequal(new.path, packed / "sampled") == set()
    assert audit_run(new).findings == []


@pytest.mark.parametrize("written", [0, 1, 3, 4])
def test_what_was_stopped_goes_on_and_ends_with_the_same_bytes(packed, tmp_path, monkeypatch, written):
    write, again = RunDirectory.write, []

    def stopped(self, *arguments):
        if len(again) == written:
            raise KeyboardInterrupt
        again.append(arguments[0])
        write(self, *arguments)

    monkeypatch.setattr(RunDirectory, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        jobs.recertify(packed / "run", tmp_path / "new", alpha=0.05)
    first = list(again)
    monkeypatch.setattr(RunDirectory, "write", lambda *arguments: (again.append(arguments[1]), write(*arguments)))
    new = jobs.recertify(packed / "run", tmp_path / "new", alpha=0.05)
    assert len(again) == 5, "no image is written twice"
    assert len(first) == written
    assert unequal(new.path, packed / "sampled") == set()
    assert len(new.provenance()["sessions"]) == 1
    assert audit_run(new).findings == []


def test_the_statement_is_about_the_new_alpha(run, tmp_path):
    new = jobs.recertify(run.path, tmp_path / "new", alpha=0.05)
    (image_id, *_) = sorted(new.finished())
    assert "0.95" in new.read(image_id).results["pixel"].statement()


def refusal(tmp_path, run, **settings):
    with pytest.raises(InputError) as refused:
        jobs.recertify(run.path, tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()
    return str(refused.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs another alpha or another tau"),
        ({"alpha": 1.5}, "alpha must lie strictly between 0 and 1"),
        ({"alpha": 1e-90}, "certifies nothing"),
        ({"tau": 0.999}, "certifies nothing"),
    ],
)
def test_settings_that_cannot_be_are_refused(run, tmp_path, settings, words):
    assert words in refusal(tmp_path, run, **settings)


def test_a_run_that_fails_its_audit_is_refused(run, tmp_path):
    broken = tmp_path / "broken"
    for name, data in content(run.path).items():
        (broken / name).parent.mkdir(parents=True, exist_ok=True)
        (broken / name).write_bytes(data)
    (broken / "results.parquet").unlink()
    assert "no finished run that passes its audit" in refusal(tmp_path, RunDirectory(broken), alpha=0.01)
    with pytest.raises(InputError, match="is the run itself"):
        jobs.recertify(run.path, run.path, alpha=0.01)


def test_tau_needs_a_certificate_that_has_one(network, tmp_path):
    settings = SETTINGS | {"max_images": 1}
    run = jobs.run(certifier([PredictionCertificate()]), Digits(), network, output=tmp_path / "run", **settings)
    assert "none of the certificates has a tau: prediction" in refusal(tmp_path, run, tau=0.9)


def test_looks_are_not_moved_after_sampling(network, tmp_path):
    settings = SETTINGS | {"max_images": 1}
    stopping = certifier([PixelCertificate([0.5], alpha=0.001)], stopping=[Futility()])
    run = jobs.run(stopping, Digits(), network, output=tmp_path / "run", **settings)
    assert "looks cannot be moved after sampling" in refusal(tmp_path, run, alpha=0.5)
    new = jobs.recertify(run.path, tmp_path / "new", alpha=0.0011)  # the same looks
    assert audit_run(new).findings == []


def test_the_command_takes_the_configuration_along(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "network: {class_path: SmallCNN, init_args: {image_size: 8}}\n"
        "data: {class_path: Digits, init_args: {max_images: 1}}\n"
        "certifier:\n"
        "  attribution: {class_path: Gradient}\n"
        "  noise: {class_path: GaussianNoise, init_args: {sigma: 0.25}}\n"
        "  certificates: {mine: {class_path: PixelCertificate, init_args: {top_k: [0.5]}}}\n"
        "  num_samples: 100\n"
        "trainer: {accelerator: cpu, devices: 1}\n"
        "max_panels: 0\n"
        "output: runs/one\n"
    )
    torch.manual_seed(0)
    main(["run", "--config=run.yaml"])
    main(["recertify", "runs/one", "--alpha=0.01", "--output=runs/two"])
    assert "runs/two/report.html" in capsys.readouterr().out
    assert audit_run(RunDirectory("runs/two")).findings == []
    assert json.loads((tmp_path / "runs/two/provenance.json").read_text())["settings"]["certificates"]["mine"][
        "alpha"
    ] == pytest.approx(0.01)
    torch.manual_seed(0)  # the weights of the network
    main(["run", "--config=runs/two/config.yaml"])  # it knows its directory, and nothing is left to do


# --- the rule -------------------------------------------------------------------------------------------------


def simulated(runs, num_samples=200):
    """For each run, the certificate of two pixels, each of which is in the top K half of the time."""
    certificate = PixelCertificate([0.5], alpha=0.5, tau=0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(runs):
        accumulator = certificate.start(GaussianNoise(0.1), (1, 2), 2)
        accumulator.update(MapBlock(torch.rand(num_samples, 1, 2, generator=generator)))
        yield accumulator.compute()


def test_an_alpha_that_was_fixed_beforehand_holds_and_one_that_was_chosen_does_not():
    """No label of these pixels is true, since each vote is tau itself.

    Each false statement counts 1 / alpha, of the alpha that it names: at most 1 per run, if alpha was fixed.
    """
    alphas, runs = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005), 1000
    false = torch.zeros(runs, len(alphas), dtype=torch.bool)
    for number, result in enumerate(simulated(runs)):
        for place, alpha in enumerate(alphas):
            again = recertified(result, PixelCertificate([0.5], alpha=alpha), GaussianNoise(0.1), (1, 2), 2)
            false[number, place] = bool((again.labels >= 0).any())
    rates, named = false.float().mean(0), torch.tensor(alphas)
    assert bool((rates <= named + 3 * (named * (1 - named) / runs).sqrt()).all())
    smallest = torch.where(false, 1 / named, 0.0).amax(1)  # the smallest alpha at which something is certified
    assert float(smallest.mean()) > 1.1
