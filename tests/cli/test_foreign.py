"""A run with a method, a law, a certificate or a rule of the user's own is resumed and tested with the same alone."""

import contextlib
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN

METHOD = """
import torch
from lit_certattr.attribution import Attribution, Gradient
from lit_certattr.certification import StoppingRule
from lit_certattr.certificates import PixelCertificate
from lit_certattr.smoothing import GaussianNoise

BIAS = 0.0

def explain(model, images, targets, create_graph=False):
    return Gradient()(model, images, targets, create_graph) + BIAS

class Shared(Attribution):
    def __init__(self, factor=1.0):
        self._factor = factor

class Weighted(Shared):
    def __call__(self, model, images, targets, create_graph=False):
        return self._factor * explain(model, images, targets, create_graph)

class Tabled(Attribution):
    def __init__(self):
        self._table = torch.load("table.pt", weights_only=True)

    def __call__(self, model, images, targets, create_graph=False):
        return explain(model, images, targets, create_graph) * self._table

class Law(GaussianNoise):
    pass

class Votes(PixelCertificate):
    def __init__(self, top_k=(0.5,), alpha=0.001, share=1.0):
        super().__init__(top_k, alpha * share)
        self._share = share

class Never(StoppingRule):
    def __init__(self, patience=1):
        self._patience = patience

    def stop(self, looks):
        return len(looks) > 100 + self._patience
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the user, from which the command is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "users_own.py").write_text(METHOD)
    torch.save(torch.ones(8, 8), tmp_path / "table.pt")
    torch.manual_seed(0)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in SmallCNN(image_size=8).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, tmp_path / "digits.ckpt")
    sys.modules.pop("users_own", None)
    yield tmp_path
    sys.modules.pop("users_own", None)


def edited(old: str, new: str) -> None:
    """The user edits the module; the next command is another process."""
    path = Path("users_own.py")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    for cached in Path("__pycache__").glob("users_own*"):
        cached.unlink()
    sys.modules.pop("users_own", None)
    importlib.invalidate_caches()


def arguments(**certifier) -> list[str]:
    config = {
        "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 1}},
        "certifier": {
            "attribution": {"class_path": "users_own.Weighted", "init_args": {"factor": 1.0}},
            "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.3}},
            "certificates": [
                {"class_path": "lit_certattr.certificates.PixelCertificate", "init_args": {"top_k": [0.5]}}
            ],
            "num_samples": 100,
            "batch_size": 50,
            **certifier,
        },
        "max_panels": 0,
        "trainer": {"accelerator": "cpu", "threads": 1},
    }
    Path("run.yaml").write_text(yaml.safe_dump(config))
    return ["run", "--config=run.yaml", "--checkpoint=digits.ckpt", "--output=run"]


def refused(capsys, command: list[str]) -> str:
    """The one line with which a command is refused."""
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def spec(name: str, **init_args) -> dict:
    return {"class_path": f"users_own.{name}", "init_args": init_args}


def test_another_private_setting_is_refused_and_the_same_goes_on(folder, capsys):
    main(arguments())
    provenance = json.loads(Path("run/provenance.json").read_text())
    assert provenance["settings"]["sources"].keys() == {"users_own.Weighted", "users_own.Shared"}
    assert provenance["settings"]["states"].keys() == {"attribution"}
    assert "sources" not in json.dumps(provenance["preflight"])
    line = refused(capsys, arguments(attribution=spec("Weighted", factor=2.0)))
    assert "attribution was Weighted(factor=1.0), is Weighted(factor=2.0)" in line
    assert "choose another --output, or --overwrite" in line
    edited("", "")  # in another process
    main(arguments())
    main([*arguments(attribution=spec("Weighted", factor=2.0)), "--overwrite=true"])


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("return self._factor * explain", "return 2 * self._factor * explain", "users_own.Weighted"),
        ("self._factor = factor", "self._factor = factor + 1", "users_own.Shared"),
        ("BIAS = 0.0", "BIAS = 0.5", "users_own.Weighted"),
    ],
)
def test_another_source_is_refused(folder, capsys, old, new, named):
    main(arguments())
    edited(old, new)
    line = refused(capsys, arguments())
    assert f"the source of {named} has changed" in line
    assert "choose another --output, or --overwrite" in line
    line = refused(capsys, ["attack", "run", "--trust", "--search.steps=1"])
    assert f"this is not what was certified: the source of {named} has changed" in line
    edited(new, old)
    main(arguments())


def test_another_state_that_is_no_argument_is_refused(folder, capsys):
    main(arguments(attribution=spec("Tabled")))
    torch.save(torch.full((8, 8), 2.0), "table.pt")
    line = refused(capsys, arguments(attribution=spec("Tabled")))
    assert "attribution holds other attributes than before, beside its settings" in line
    torch.save(torch.ones(8, 8), "table.pt")
    main(arguments(attribution=spec("Tabled")))


PARTS = {
    "noise": (spec("Law", sigma=0.3), "class Law(GaussianNoise):\n    pass", "users_own.Law"),
    "certificates": ([spec("Votes", share=0.5)], "super().__init__(top_k, alpha * share)", "users_own.Votes"),
    "stopping": ([spec("Never", patience=3)], "return len(looks) > 100", "users_own.Never"),
}


@pytest.mark.parametrize("part", PARTS)
def test_laws_certificates_and_rules_are_told_apart_too(folder, capsys, part):
    value, text, named = PARTS[part]
    certifier = {"attribution": "lit_certattr.attribution.Gradient", part: value}
    main(arguments(**certifier))
    main(arguments(**certifier))
    edited(text, text + "  # changed")
    assert f"the source of {named} has changed" in refused(capsys, arguments(**certifier))


def test_private_settings_of_certificates_and_rules_are_told_apart(folder, capsys):
    plain = {"attribution": "lit_certattr.attribution.Gradient"}
    main(arguments(**plain, certificates=[spec("Votes", share=0.5)], stopping=[spec("Never", patience=3)]))
    line = refused(
        capsys, arguments(**plain, certificates=[spec("Votes", share=0.25)], stopping=[spec("Never", patience=3)])
    )
    assert "share was 0.5, is 0.25" in line or "alpha was" in line or "certificate pixel holds" in line
    line = refused(
        capsys, arguments(**plain, certificates=[spec("Votes", share=0.5)], stopping=[spec("Never", patience=4)])
    )
    assert "stopping[0] was Never(patience=3), is Never(patience=4)" in line


def test_a_named_function_can_be_certified_and_is_told_apart(folder, capsys):
    method = {
        "class_path": "lit_certattr.attribution.FunctionAttribution",
        "init_args": {"function": "users_own.explain", "name": "biased"},
    }
    main(arguments(attribution=method))
    settings = json.loads(Path("run/provenance.json").read_text())["settings"]
    assert settings["attribution"] == "FunctionAttribution(name='biased')"
    assert settings["sources"].keys() == {"users_own.explain"}
    edited("", "")
    main(arguments(attribution=method))
    edited("BIAS = 0.0", "BIAS = 0.25")
    assert "the source of users_own.explain has changed" in refused(capsys, arguments(attribution=method))


def test_a_run_of_a_version_that_recorded_no_source_is_refused_in_one_line(folder, capsys):
    main(arguments(attribution=spec("Tabled")))
    path = Path("run/provenance.json")
    provenance = json.loads(path.read_text())
    del provenance["settings"]["sources"], provenance["settings"]["states"]
    path.write_text(json.dumps(provenance))
    line = refused(capsys, arguments(attribution=spec("Tabled")))
    assert "the record does not hold the source of users_own.Tabled, as older versions did not" in line


def test_runs_of_our_own_classes_record_nothing_more(folder):
    main(arguments(attribution="lit_certattr.attribution.Gradient"))
    settings = json.loads(Path("run/provenance.json").read_text())["settings"]
    assert list(settings) == [
        "attribution", "noise", "num_samples", "batch_size", "seed", "memory_format", "certificates", "targets",
        "device", "precision", "threads", "torch", "network", "structure", "images",
    ]  # fmt: skip


def test_the_audit_knows_the_digests(folder, capsys):
    main(arguments())
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        main(["audit", "run"])
    said = capsys.readouterr()
    assert "which no run has" not in said.out + said.err
    assert "pixel" in said.out + said.err or "image" in said.out + said.err
