"""The five jobs called from Python: typed arguments in, what was found out, nothing printed."""

import inspect
import warnings

import pytest
import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient, ProbabilityGradient
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    PixelCertificate,
    SmoothGradCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.jobs.trust import import_packages
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import Box, EnergyInside
from lit_certattr.robustness import RobustnessProtocol
from lit_certattr.smoothing import GaussianNoise

ONE_THREAD = jobs.TrainerOptions("cpu", threads=1)
QUICK = AttackConfig(eps=1.0, steps=1)


def _network():
    torch.manual_seed(0)
    return SmallCNN(image_size=8)


def _certifier(**settings):
    certificates = [PixelCertificate((0.5, 0.2)), TopKOverlapCertificate(0.5)]
    return Certifier(Gradient(), GaussianNoise(0.3), certificates, num_samples=150, batch_size=50, **settings)


def _run(output, **settings):
    certifier, data = _certifier(), Digits(max_images=5)
    given = {"max_images": 2, "trainer": ONE_THREAD, "progress": False, "max_panels": 1} | settings
    directory = jobs.run(certifier, data, _network(), output=output, **given)
    assert (certifier.num_samples, certifier.seed, data.max_images) == (150, 0, 5), "arguments are left as they are"
    return directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return _run(tmp_path_factory.mktemp("python") / "run")


def _reopened(directory, **settings):
    return jobs.reopen(
        directory.path, **({"certifier": _certifier(), "data": Digits(), "network": _network()} | settings)
    )


def test_a_run_is_certified_attacked_and_audited_without_a_word(finished, capsys):
    assert len(finished.finished()) == 2
    opened = _reopened(finished)
    report = jobs.attack(opened, budgets=[0.1], search=QUICK, draws=1, judge_draws=2, overwrite=True, progress=False)
    assert len(report.ids) == 2
    assert report.contradicted == []
    assert {row["num_samples"] for row in report.rows} == {150}
    assert report.directory.page.exists()
    assert report.directory.settings()["preset"] == "standard"
    with pytest.raises(InputError, match="preset must be one of quick, standard, thorough, got 'fast'"):
        jobs.attack(opened, preset="fast")
    audit = jobs.audit(opened, fresh=True, seed=7, progress=False)
    assert audit.findings == []
    assert audit.sampled.num_claims > 0
    assert opened.certifier.seed == 0, "what was opened is left as it is"
    fewer = jobs.audit(opened, fresh=True, seed=7, max_images=1, num_samples=300, replay=0, progress=False)
    assert "1 image tested with 300 fresh samples" in fewer.sampled.notes[0]
    assert jobs.audit(finished.path).sampled is None
    assert capsys.readouterr() == ("", "")


def test_num_samples_and_seed_take_the_place_of_the_certifiers(tmp_path):
    settings = _run(tmp_path / "run", num_samples=120, seed=3).provenance()["settings"]
    assert (settings["num_samples"], settings["seed"]) == (120, 3)
    with pytest.raises(InputError, match="num_samples was 120, is 150"):
        _run(tmp_path / "run", seed=3)
    _run(tmp_path / "run", seed=3, overwrite=True)


def test_a_class_that_files_would_take_for_another_one_is_refused_before_sampling(tmp_path):
    noise = type("GaussianNoise", (GaussianNoise,), {"__module__": "somewhere"})(0.3)
    namesake = type("PixelResult", (PixelCertificate.result,), {"__module__": "somewhere"})
    certificate = type("CertificateOfANamesake", (PixelCertificate,), {"result": namesake})()
    for law, kind, name in (
        (noise, PixelCertificate(), "GaussianNoise"),
        (_certifier().noise, certificate, "PixelResult"),
    ):
        certifier = Certifier(Gradient(), law, [kind], num_samples=50)
        with pytest.raises(InputError, match=rf"somewhere\.{name} has the name of lit_certattr\..*\.{name}, and files"):
            jobs.run(certifier, Digits(max_images=1), _network(), output=tmp_path / "run", trainer=ONE_THREAD)
    assert not (tmp_path / "run").exists()


def test_a_module_that_ends_the_process_cannot_be_imported(tmp_path, monkeypatch):
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")  # the status of an audit in which nothing is wrong
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"--import: leaving cannot be imported \(SystemExit: 3\)"):
        import_packages(["leaving"], tmp_path / "run")


def test_a_run_from_python_is_opened_with_its_objects_only(finished):
    with pytest.raises(InputError, match=r"jobs\.reopen\(directory, certifier, data, network\)"):
        jobs.reopen(finished.path)
    with pytest.raises(InputError, match="give network as well"):
        _reopened(finished, network=None)
    with pytest.raises(InputError, match="the first weights that differ are those of features"):
        _reopened(finished, network=SmallCNN(image_size=8))
    with pytest.raises(InputError, match="noise was"):
        _reopened(finished, certifier=Certifier(Gradient(), GaussianNoise(0.2), [PixelCertificate()]))
    with pytest.raises(InputError, match=r"jobs\.reopen"):
        jobs.audit(_reopened(finished), fresh=True, devices=2)


def test_an_evaluation_gives_its_means(tmp_path, capsys):
    protocol = RobustnessProtocol(Gradient(), AttackConfig(0.1, steps=1, norm="linf"), top_k=12, windows=[1])

    def evaluate(**settings):
        return jobs.evaluate(
            protocol,
            Digits(batch_size=20),
            _network(),
            output=tmp_path / "run",
            max_images=40,
            trainer=ONE_THREAD,
            progress=False,
            **settings,
        )

    found = evaluate()
    assert len(found.ids) == 40
    natural = next(mean for mean in found.means if mean.number == "natural_accuracy")
    assert 0 <= natural.mean <= 1
    assert found.directory.summary.exists()
    assert capsys.readouterr() == ("", "")
    assert evaluate().means == found.means, "resumed"
    with pytest.raises(InputError, match="seed=4"):
        evaluate(seed=4)
    assert protocol.search.seed == 0, "arguments are left as they are"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"num_samples": 1.5}, "num_samples must be a whole number"),
        ({"num_samples": 3}, "num_samples=3 certifies nothing"),
        ({"max_images": 0}, "max_images must be at least 1"),
        ({"ids": ["nobody"]}, "no image 'nobody'"),
        ({"ids": "0"}, "ids must be a list"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"trainer": jobs.TrainerOptions(threads=0)}, "threads must be at least 1"),
    ],
)
def test_bad_arguments_of_a_run_write_nothing(tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        _run(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "certificate", "precision", "said"),
    [
        (Gradient(), ClaimCertificate([Claim("few", EnergyInside(Box(0, 0, 0.01, 1)))]), "32-true", "holds no pixel"),
        (ProbabilityGradient(), SmoothGradCertificate(20), "bf16-true", "set precision to 32-true"),
    ],
)
def test_what_a_certificate_cannot_use_is_said_before_anything_is_written(
    tmp_path, method, certificate, precision, said
):
    certifier = Certifier(method, GaussianNoise(0.3), [certificate], num_samples=2000)
    trainer = jobs.TrainerOptions("cpu", threads=1, precision=precision)
    with pytest.raises(InputError, match=said):
        jobs.run(certifier, Digits(max_images=2), _network(), output=tmp_path / "run", trainer=trainer, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"error": 0}, "error must lie"),
        ({"max_images": 0}, "max_images must be at least 1"),
        ({"search": AttackConfig(1.0, keep="last")}, "keep"),
        ({"search": AttackConfig(1.0, norm="linf")}, "norm must be 'l2'"),
        ({"seed": 0}, "the run's own"),
        ({"budgets": []}, "budgets must be positive"),
    ],
)
def test_bad_arguments_of_an_attack(tmp_path, finished, settings, said):
    with pytest.raises(InputError, match=said):
        jobs.attack(_reopened(finished), **settings)


@pytest.mark.parametrize("option", [{"num_samples": 9}, {"seed": 1}, {"replay": 1}, {"ids": ["a"]}, {"trust": True}])
def test_an_option_of_fresh_without_it_is_no_silent_nothing(finished, option):
    with pytest.raises(InputError, match="add --fresh"):
        jobs.audit(finished.path, **option)


@pytest.mark.parametrize("name", ["run", "attack", "audit", "evaluate", "reopen"])
def test_every_argument_of_a_job_is_typed_and_documented(name):
    job = getattr(jobs, name)
    text = inspect.getdoc(job)
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert part in text, part
    for argument, parameter in inspect.signature(job).parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty, argument
        assert f"\n    {argument}: " in text, argument


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Linear, "got the class Linear: create one"),
        (lambda images: images.mean((2, 3)), "must be a torch.nn.Module"),
        (torch.export.export(nn.Flatten(), (torch.zeros(1, 1, 8, 8),)).module(), "from before torch.export"),
    ],
)
def test_what_is_no_network_is_refused_as_by_a_certifier(tmp_path, network, said):
    with pytest.raises(InputError, match=said):
        jobs.run(_certifier(), Digits(max_images=1), network, output=tmp_path / "run", trainer=ONE_THREAD)
    assert not (tmp_path / "run").exists()


def test_a_scripted_network_in_a_run(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still in use
        scripted = torch.jit.script(_network())
    run = jobs.run(
        _certifier(), Digits(max_images=1), scripted, output=tmp_path / "run", trainer=ONE_THREAD, progress=False
    )
    assert (run.path / "results.parquet").exists()
