"""``certify.py audit``: an honest run passes, whatever is altered is found and named, a fake falls."""

import json
import re
import shutil

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from lit_certattr.certificates import PixelCertificate
from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.records.run_directory import fingerprint
from lit_certattr.reports.html import write_report
from lit_certattr.smoothing import DiscreteGaussianNoise, alpha_slack

pytestmark = pytest.mark.slow

CONFIG = """
data:
  class_path: lit_certattr.data.Digits
  init_args:
    max_images: 2
certifier:
  attribution: lit_certattr.attribution.Gradient
  noise:
    class_path: lit_certattr.smoothing.GaussianNoise
    init_args:
      sigma: 0.3
  certificates:
    - class_path: lit_certattr.certificates.PixelCertificate
      init_args:
        top_k: [0.5, 0.2]
    - class_path: lit_certattr.certificates.TopKOverlapCertificate
      init_args:
        top_k: 0.5
  num_samples: 300
  batch_size: 50
max_panels: 1
trainer:
  accelerator: cpu
  threads: 1
"""


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A finished run, never touched."""
    folder = tmp_path_factory.mktemp("honest")
    torch.manual_seed(0)
    network = SmallCNN(image_size=8)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, folder / "digits.ckpt")
    (folder / "digits.yaml").write_text(CONFIG)
    config, checkpoint = f"--config={folder / 'digits.yaml'}", f"--checkpoint={folder / 'digits.ckpt'}"
    main(["run", config, checkpoint, f"--output={folder / 'run'}"])
    return folder / "run"


@pytest.fixture
def run(honest, tmp_path):
    """A copy, to be spoiled."""
    return RunDirectory(shutil.copytree(honest, tmp_path / "run"))


def _audit(run: RunDirectory, capsys, *extra: str) -> tuple[int, str]:
    """Exit status and standard output."""
    capsys.readouterr()
    try:
        main(["audit", str(run.path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    return status, capsys.readouterr().out


def _first(run: RunDirectory) -> str:
    return pq.read_table(run.table).column("id")[0].as_py()


def _rewrite(run: RunDirectory, change, image_id: str | None = None, table: bool = True) -> str:
    """Alter the results of one image as a careful forger would: digests, table, figures and page are made to fit."""
    ids = list(dict.fromkeys(pq.read_table(run.table).column("id").to_pylist()))
    image_id = image_id or ids[0]
    record = run.read(image_id)
    run.write(image_id, change(record.results), record.image, record.clean_map, record.facts)
    if table:
        run.write_table(ids)
        write_report(run, ids, max_panels=yaml.safe_load(run.config.read_text())["max_panels"])
    return image_id


def _evolve(name: str, **changes):
    return lambda results: (
        results
        | {
            name: attrs.evolve(
                results[name], **{key: value(getattr(results[name], key)) for key, value in changes.items()}
            )
        }
    )


def _at(index: tuple[int, ...], value: float):
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[index] = value
        return tensor

    return change


def _files(run: RunDirectory) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_an_honest_run_passes_and_nothing_is_written(run, capsys):
    before = _files(run)
    status, out = _audit(run, capsys)
    assert status == 0, out
    assert "4 certificates re-derived, all equal" in out
    assert _files(run) == before


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        (
            "pixel",
            {"labels": _at((1, 2, 3), 1)},
            "labels at level 1, pixel (2, 3) (1 of 128 differ): stored 1",
        ),
        ("pixel", {"radius": _at((0, 0, 0), 9.0)}, "radius at level 0, pixel (0, 0) (1 of 128 differ): stored 9.0"),
        ("pixel", {"votes": _at((0, 4, 5), 77)}, "the votes add up to"),
        ("pixel", {"threshold": lambda x: x - 9}, "threshold: stored"),
        ("pixel", {"alpha": lambda _: 0.5}, "alpha: stored 0.5, derived 0.001"),
        ("pixel", {"tau": lambda _: 0.75}, "tau: stored 0.75, derived 0.5"),
        ("pixel", {"sigma": lambda _: 0.9}, "sigma: stored 0.9"),
        ("pixel", {"num_samples": lambda _: 400}, "num_samples: stored 400"),
        ("pixel", {"noise": lambda _: "UniformBallNoise"}, "noise: stored UniformBallNoise"),
        ("pixel", {"flags": lambda _: ("all is well",)}, "flags: stored"),
        ("pixel", {"sampling": lambda x: x | {"seed": 5}}, "seed: stored 5, derived 0"),
        ("pixel", {"sampling": lambda x: x | {"target": 99}}, "target: stored 99"),
        ("topk_overlap", {"displacement": lambda x: x + 0.1}, "displacement at "),
        ("topk_overlap", {"inside": lambda x: ~x}, "inside at pixel (0, 0) (64 of 64 differ)"),
        ("topk_overlap", {"votes": _at((0, 0), 301)}, "votes of"),
        ("topk_overlap", {"bound": lambda _: "guess"}, "topk_overlap"),
    ],
)
def test_an_altered_certificate_is_found_though_digests_and_table_fit(run, capsys, name, changes, expected):
    image_id = _rewrite(run, _evolve(name, **changes), table="noise" not in changes)
    status, out = _audit(run, capsys)
    assert status == 1
    assert "FAILED" in out
    assert expected in out
    assert any(line.startswith(f"{image_id}, {name}: ") for line in out.splitlines())
    assert "all equal" not in out


def test_a_flipped_bit_is_found(run, capsys):
    path = run.maps / f"{_first(run)}.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    status, out = _audit(run, capsys)
    assert status == 1
    assert "digest" in out


def test_an_altered_table_is_found(run, capsys):
    table = pq.read_table(run.table)
    rows = table.to_pylist()
    rows[0]["certified"] = 0.99
    rows[1]["flags"] = "none"
    del rows[-1]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), run.table)
    status, out = _audit(run, capsys)
    assert status == 1
    assert f"results.parquet, {rows[0]['id']}, pixel, level 0: certified: stored 0.99, derived" in out
    assert "level 1: flags: stored none" in out
    assert "row is missing" in out
    run.table.unlink()
    assert "results.parquet: is missing" in _audit(run, capsys)[1]
    run.table.write_bytes(b"no table")
    assert "results.parquet: cannot be read" in _audit(run, capsys)[1]


def test_missing_and_extra_files_are_found(run, capsys):
    image_id = _first(run)
    (run.maps / "other.safetensors").write_bytes((run.maps / f"{image_id}.safetensors").read_bytes())
    (run.path / "notes.txt").write_text("mine")
    run.report.unlink()
    (run.images / f"{image_id}.safetensors").unlink()
    status, out = _audit(run, capsys)
    assert status == 1
    for line in (
        "maps/other.safetensors: belongs to no image of the run",
        "notes.txt: is no file of a run",
        "report.html: is missing",
        f"images/{image_id}.safetensors: is missing",
    ):
        assert line in out.splitlines()


def test_another_image_and_another_label_are_found(run, capsys):
    image_id = _first(run)
    record = run.read(image_id)
    run.write(image_id, record.results, 1 - record.image, record.clean_map, record.facts)
    assert "hash of the images, labels and their order" in _audit(run, capsys)[1]
    other = record.facts | {"label": record.facts["label"] + 1}
    run.write(image_id, record.results, record.image, record.clean_map, other)
    assert "hash of the images, labels and their order" in _audit(run, capsys)[1]


def test_altered_settings_are_found(run, capsys):
    content = run.provenance()
    content["settings"]["seed"] = 7
    run.provenance_file.write_text(json.dumps(content))
    status, out = _audit(run, capsys)
    assert status == 1
    assert "provenance.json: fingerprint" in out
    content["settings"]["seed"] = 0
    content["settings"]["certificates"]["pixel"]["alpha"] = 0.5
    content["fingerprint"] = fingerprint(content["settings"])
    run.provenance_file.write_text(json.dumps(content))
    out = _audit(run, capsys)[1]
    assert "pixel: alpha: stored 0.001, derived 0.5 (provenance.json)" in out
    assert "config.yaml: pixel.alpha: stored 0.001" in out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda config: config["certifier"].update(num_samples=5000),
            "certifier.num_samples: stored 5000",
        ),
        (
            lambda config: config["certifier"]["noise"]["init_args"].update(sigma=0.5),
            "noise.sigma: stored 0.5",
        ),
        (lambda config: config["certifier"]["noise"].update(class_path="a.B"), "certifier.noise: stored B"),
        (lambda config: config["certifier"]["certificates"].pop(), "certifier.certificates: stored 1"),
        (lambda config: config.update(targets="label"), "targets: stored label, derived predicted"),
        (lambda config: config["trainer"].update(precision="bf16-true"), "trainer.precision: stored bf16-true"),
        (lambda config: config.update(radii=[0.1]), "columns"),
    ],
)
def test_a_config_that_says_something_else_is_found(run, capsys, change, expected):
    config = yaml.safe_load(run.config.read_text())
    change(config)
    run.config.write_text(yaml.safe_dump(config))
    status, out = _audit(run, capsys)
    assert status == 1
    assert expected in out


def test_nothing_in_the_files_is_imported_or_followed(run, capsys, tmp_path):
    (tmp_path / "payload.py").write_text("raise SystemExit('ran')")
    config = yaml.safe_load(run.config.read_text())
    config["certifier"]["attribution"] = {"class_path": "payload.Boom"}
    run.config.write_text(yaml.safe_dump(config))
    table = pq.read_table(run.table)
    rows = table.to_pylist()
    rows[0]["id"] = "../../secret"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), run.table)
    status, out = _audit(run, capsys)
    assert status == 1
    assert "certifier.attribution: stored Boom, derived Gradient" in out
    assert "maps/../../secret.safetensors: is missing" in out


def test_what_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["audit", str(tmp_path)])
    assert stopped.value.code == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_kind_that_cannot_be_re_derived_is_not_passed_over(run, capsys, monkeypatch):
    class Nobody:
        pass

    monkeypatch.setattr("lit_certattr.audit.binding.Rederivable", Nobody)
    status, out = _audit(run, capsys)
    assert status == 1
    assert "a PixelResult cannot be re-derived" in out


@pytest.mark.parametrize(
    ("rederive", "said"),
    [
        (lambda result: None, "rederive() gave NoneType, not PixelResult"),
        (lambda result: result.nothing, "has no attribute 'nothing'"),
    ],
)
def test_a_kind_whose_rederive_fails_does_not_keep_others_from_being_audited(run, capsys, monkeypatch, rederive, said):
    monkeypatch.setattr(PixelCertificate.result, "rederive", rederive)
    status, out = _audit(run, capsys)
    assert status == 1
    assert re.search(rf", pixel: cannot be re-derived: .*{re.escape(said)}", out)
    number = len(run.finished())
    assert f"{number} of {2 * number} certificates re-derived equal" in out


# --- fresh noise --------------------------------------------------------------------------------------------


def test_an_honest_run_stands_against_fresh_noise(run, capsys):
    before = _files(run)
    status, out = _audit(run, capsys, "--fresh", "--seed=11", "--num_samples=400")
    assert status == 0, out
    assert "No claim is contradicted" in out
    assert "400 fresh samples" in out
    assert "at most 0.001" in out
    assert _files(run) == before


def _inflate(results):
    """Certificates of votes that were never cast: every split vote is made unanimous, and all else is derived."""
    pixel = results["pixel"]
    votes = pixel.votes.clone()
    order = pixel.votes[0].flatten().argsort(descending=True)
    for level, size in enumerate(pixel.sizes):
        votes[level].view(-1)[:] = 0
        votes[level].view(-1)[order[:size]] = pixel.num_samples
    overlap = results["topk_overlap"]
    return {
        "pixel": attrs.evolve(pixel, votes=votes).rederive(),
        "topk_overlap": attrs.evolve(overlap, votes=votes[0].clone()).rederive(),
    }


def test_a_run_of_invented_votes_falls(run, capsys):
    image_id = _rewrite(run, _inflate)
    assert _audit(run, capsys)[0] == 0, "consistent throughout: only noise can tell"
    status, out = _audit(run, capsys, "--fresh")
    assert status == 1
    assert "FAILED" in out
    lines = [line for line in out.splitlines() if "claims contradicted" in line]
    assert {line.split(":")[0] for line in lines} == {f"{image_id}, pixel", f"{image_id}, topk_overlap"}
    assert "vote for important of at least" in out


def test_cosine_and_one_number_claims_are_tested_too(honest, tmp_path, capsys):
    config = yaml.safe_load(CONFIG)
    certificates = {
        "CosineCertificate": {"nonnegative": True, "num_selection": 50},
        "TopKOverlapCertificate": {"top_k": 0.5, "bound": "one_number", "num_selection": 50},
    }
    config["certifier"]["certificates"] = [
        {"class_path": f"lit_certattr.certificates.{kind}", "init_args": settings}
        for kind, settings in certificates.items()
    ]
    (tmp_path / "numbers.yaml").write_text(yaml.safe_dump(config))
    checkpoint = f"--checkpoint={honest.parent / 'digits.ckpt'}"
    main(["run", f"--config={tmp_path / 'numbers.yaml'}", checkpoint, f"--output={tmp_path / 'run'}"])
    run = RunDirectory(tmp_path / "run")
    status, out = _audit(run, capsys, "--fresh")
    assert status == 0, out
    assert "4 claims about 2 images tested with 300 fresh samples" in " ".join(out.split())
    assert "Not tested" not in out

    def invented(results):
        cosine, overlap = results["cosine"], results["topk_overlap"]
        inside = overlap.inside.int()
        return {
            "cosine": attrs.evolve(
                cosine,
                projections=torch.ones_like(cosine.projections),
                products=torch.ones_like(cosine.products),
                mean=cosine.mean / cosine.mean.norm(),
            ).rederive(),
            "topk_overlap": attrs.evolve(overlap, selection=50 * inside, votes=250 * inside).rederive(),
        }

    image_id = _rewrite(run, invented)
    status, out = _audit(run, capsys, "--fresh")
    assert status == 1
    lines = [line for line in out.splitlines() if "1 of 1 claims contradicted" in line]
    assert {line.split(":")[0] for line in lines} == {f"{image_id}, cosine", f"{image_id}, topk_overlap"}
    _rewrite(run, _evolve("cosine", bound=lambda _: "signed"))
    assert "cosine: nonnegative: stored False, derived True" in _audit(run, capsys)[1]


def test_another_network_is_refused_before_sampling(run, capsys, tmp_path):
    torch.manual_seed(1)
    network = SmallCNN(image_size=8)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, tmp_path / "other.ckpt")
    with pytest.raises(SystemExit) as stopped:
        main(["audit", str(run.path), "--fresh", f"--checkpoint={tmp_path / 'other.ckpt'}"])
    assert stopped.value.code == 2
    assert "the first weights that differ are those of features.0.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (("--fresh", "--seed=0"), "the run's own"),
        (("--num_samples=10",), "add --fresh"),
        (("--fresh", "--num_samples=0"), "--num_samples must be at least 1"),
        (("--fresh", "--error=2"), "--error must lie"),
        (("--fresh", "--checkpoint=nowhere.ckpt"), "nowhere.ckpt: there is no such file"),
    ],
)
def test_bad_arguments(run, capsys, extra, expected):
    with pytest.raises(SystemExit) as stopped:
        main(["audit", str(run.path), *extra])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    out = capsys.readouterr().out
    assert "certify.py audit runs/certify/photographs --fresh" in out
    assert "Exit status" in out


def test_a_run_that_stops_early(honest, tmp_path, capsys):
    config = yaml.safe_load(CONFIG)
    config["certifier"]["stopping"] = [
        {"class_path": "lit_certattr.certification.Futility", "init_args": {"gain": 0.5, "radius": 0.1}}
    ]
    config["certifier"]["num_samples"] = 2000
    (tmp_path / "early.yaml").write_text(yaml.safe_dump(config))
    checkpoint = f"--checkpoint={honest.parent / 'digits.ckpt'}"
    main(["run", f"--config={tmp_path / 'early.yaml'}", checkpoint, f"--output={tmp_path / 'run'}"])
    run = RunDirectory(tmp_path / "run")
    assert min(pq.read_table(run.table).column("num_samples").to_pylist()) < 2000, "it stopped"
    status, out = _audit(run, capsys, "--fresh", "--num_samples=500")
    assert status == 0, out
    assert "500 fresh samples" in out, "a fixed number, whatever the rule"

    def old(results):  # as such runs were written before the last look got more: the same share for each, unrecorded
        share = 1 / len(next(iter(results.values())).sampling["looks"])
        return {
            name: attrs.evolve(
                result,
                alpha_share=share,
                sampling={key: value for key, value in result.sampling.items() if key != "look_shares"},
            ).rederive()
            for name, result in results.items()
        }

    shutil.copytree(run.path, tmp_path / "old")
    before = RunDirectory(tmp_path / "old")
    for image_id in pq.read_table(before.table).column("id").unique().to_pylist():
        _rewrite(before, old, image_id)
    status, out = _audit(before, capsys)
    assert status == 1, "the settings still say that the last look got half"
    assert "alpha_share: stored 0." in out
    assert "look_shares" in out
    provenance = json.loads(before.provenance_file.read_text())
    del provenance["settings"]["look_shares"]
    provenance["fingerprint"] = fingerprint(provenance["settings"])
    before.provenance_file.write_text(json.dumps(provenance))
    write_report(before, list(dict.fromkeys(pq.read_table(before.table).column("id").to_pylist())), max_panels=1)
    status, out = _audit(before, capsys)
    assert status == 0, out

    def undivided(results):  # all of alpha for one look, though the run looked more often
        return {name: attrs.evolve(result, alpha_share=1.0).rederive() for name, result in results.items()}

    _rewrite(run, undivided)
    status, out = _audit(run, capsys)
    assert status == 1
    assert "pixel: alpha_share: stored 1.0, derived 0." in out

    def one_look(results):
        return {
            name: attrs.evolve(result, sampling=result.sampling | {"looks": [2000]})
            for name, result in undivided(results).items()
        }

    _rewrite(run, one_look)
    assert "pixel: looks: stored [2000], derived [" in _audit(run, capsys)[1]


def test_integer_noise_from_run_to_audit(honest, tmp_path, capsys):
    config = f"--config={honest.parent / 'digits.yaml'}"
    checkpoint = f"--checkpoint={honest.parent / 'digits.ckpt'}"
    noise = ["--certifier.noise=DiscreteGaussianNoise", "--certifier.noise.sigma=0.3"]
    with pytest.raises(SystemExit):  # the digits have 16 grey levels
        main(["run", config, checkpoint, *noise, f"--output={tmp_path / 'wrong'}"])
    assert "is no multiple of 1/255" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()
    main(["run", config, checkpoint, *noise, "--certifier.noise.levels=16", f"--output={tmp_path / 'run'}"])
    run = RunDirectory(tmp_path / "run")
    page = " ".join(run.report.read_text().split())
    assert "moves each value by whole steps of 1/16" in page
    slack = alpha_slack(DiscreteGaussianNoise(0.3, 16), 300, 64)
    assert 0 < slack < 1e-12
    assert f"it adds at most {slack:.1g} to the α of an image" in page
    assert "drawn in floating point" not in page
    status, out = _audit(run, capsys, "--fresh", "--seed=5")
    assert status == 0, out
    assert "4 certificates re-derived, all equal" in out
    assert "No claim is contradicted" in out
    capsys.readouterr()
    with pytest.raises(SystemExit):  # the fresh noise alone may err with more
        main(["audit", str(run.path), "--fresh", "--seed=5", "--error=1e-14"])
    assert "--error=1e-14 must be above 9.4e-14, the error of the noise sampler" in capsys.readouterr().err
    _rewrite(run, lambda results: results | {"pixel": attrs.evolve(results["pixel"], alpha_slack=0.0).rederive()})
    status, out = _audit(run, capsys)
    assert status == 1
    assert "pixel: alpha_slack: stored 0.0, derived 4.68" in out
