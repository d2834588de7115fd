"""The majority of noisy predictions through the commands: recorded, resumed, audited, and a forged class found."""

import json

import attrs
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.records.run_directory import fingerprint
from lit_certattr.records.table import num_moved
from lit_certattr.reports.html import write_report

CONFIG = """
network: {class_path: SmallCNN, init_args: {image_size: 8}}
data: {class_path: Digits, init_args: {max_images: 3}}
targets: noisy_majority
certifier:
  attribution: {class_path: Gradient}
  noise: {class_path: GaussianNoise, init_args: {sigma: 0.6}}
  certificates: [{class_path: PixelCertificate, init_args: {top_k: [0.5]}}]
  num_samples: 100
  class_samples: 50
max_panels: 1
"""


@pytest.fixture(scope="module")
def certify(tmp_path_factory):
    """Certifies to a directory of a name, with more arguments."""
    folder = tmp_path_factory.mktemp("majority")
    torch.manual_seed(3)  # noise changes the class of two of the three images
    save_file(SmallCNN(image_size=8).state_dict(), folder / "net.safetensors")
    (folder / "config.yaml").write_text(CONFIG)

    def run(name, *more):
        files = [f"--config={folder}/config.yaml", f"--checkpoint={folder}/net.safetensors"]
        main(["run", *files, f"--output={folder / name}", "--accelerator=cpu", *more])
        return RunDirectory(folder / name)

    return run


@pytest.fixture(scope="module")
def run(certify):
    return certify("run")


def ids(run):
    return pq.read_table(run.table).column("id").to_pylist()


def audit(run, capsys, *extra):
    capsys.readouterr()
    try:
        main(["audit", str(run.path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    return status, capsys.readouterr().out


def test_a_run_says_how_the_class_was_chosen(run, capsys):
    settings = run.provenance()["settings"]
    assert (settings["targets"], settings["class_samples"]) == ("noisy_majority", 50)
    assert run.provenance()["sessions"][0]["samples"] == 3 * (100 + 50)  # the copies that choose are counted, too
    record = run.read(ids(run)[0])
    page = run.report.read_text()
    votes = record.results["pixel"].sampling["class_votes"]
    assert f": the majority of 50 noisy predictions, with {votes} votes" in page
    assert "independent of that of the certificates" in page
    assert set(pq.read_table(run.table).column("target_rule").to_pylist()) == {"noisy_majority"}
    status, out = audit(run, capsys, "--fresh", "--num_samples=60", "--error=0.01")
    assert status == 0, out


def test_images_whose_class_noise_has_changed_are_counted(run):
    rows = pq.read_table(run.table).to_pylist()
    moved = sum(row["target"] != row["prediction"] for row in rows)
    assert 0 < moved < 3, "some of the images must change their class in this test"
    assert moved == num_moved(pq.read_table(run.table))
    images = "1 image" if moved == 1 else "2 images"
    assert f"{images}: the majority of the noisy predictions is another class" in run.report.read_text()


def test_a_run_that_was_interrupted_chooses_the_same_classes(run, certify, monkeypatch):
    write, left = RunDirectory.write, [1]

    def stop(self, *args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(self, *args)

    monkeypatch.setattr(RunDirectory, "write", stop)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        certify("resumed")
    monkeypatch.undo()
    resumed = certify("resumed")
    assert pq.read_table(resumed.table).equals(pq.read_table(run.table))
    for image_id in ids(run):
        assert resumed.read(image_id).results["pixel"].sampling == run.read(image_id).results["pixel"].sampling


def test_another_number_of_copies_is_another_run(run, certify, capsys):
    with pytest.raises(SystemExit):
        certify("run", "--certifier.class_samples=60")
    assert "class_samples" in capsys.readouterr().err


def forge(run, certify, name, **changes):
    """A run whose record says something else of its first image, with files that fit."""
    forged = certify(name)
    first = ids(forged)[0]
    record = forged.read(first)
    results = {
        key: attrs.evolve(one, sampling=one.sampling | changes).rederive() for key, one in record.results.items()
    }
    facts = record.facts | ({"target": changes["target"]} if "target" in changes else {})
    forged.write(first, results, record.image, record.clean_map, facts)
    content = forged.provenance()
    forged.provenance_file.write_text(json.dumps(content | {"fingerprint": fingerprint(content["settings"])}))
    forged.write_table(ids(forged))
    write_report(forged, ids(forged), max_panels=1)
    return forged


def test_a_forged_class_is_found_by_choosing_again(run, certify, capsys):
    target = run.read(ids(run)[0]).results["pixel"].sampling["target"]
    forged = forge(run, certify, "forged", target=(target + 1) % 10)
    assert audit(forged, capsys)[0] == 0  # all files fit: the network alone can tell
    status, out = audit(forged, capsys, "--fresh", "--num_samples=60", "--replay=0")
    assert status == 1
    assert f"explained class: stored {(target + 1) % 10}, derived {target}" in out
    status, out = audit(forged, capsys, "--fresh", "--num_samples=60", "--replay=3")
    assert f"drawn again: explained class: stored {(target + 1) % 10}, derived {target} (the noisy majority)" in out


@pytest.mark.parametrize(
    ("changes", "fresh", "words"),
    [
        ({"class_votes": 51}, False, "class_votes: stored 51, derived a number in 1..50"),
        ({"class_votes": None}, False, "class_votes: stored None, derived a number in 1..50"),
        ({"class_votes": 49}, True, "class_votes: stored 49"),
        ({"class_samples": 5}, False, "class_samples: stored 5, derived 50"),
        ({"class_generator": "dice"}, False, "class_generator: stored dice"),
        ({"target_rule": "predicted"}, False, "target_rule: stored predicted, derived noisy_majority"),
    ],
)
def test_a_forged_choice_is_found(run, certify, capsys, tmp_path, changes, fresh, words):
    forged = forge(run, certify, tmp_path.name, **changes)
    status, out = audit(forged, capsys, *(("--fresh", "--num_samples=60", "--replay=3") if fresh else ()))
    assert status == 1
    assert words in out


def test_settings_that_contradict_the_rule_are_found(certify, capsys):
    forged = certify("settings")
    for changes, words in (
        ({"class_samples": 0}, "class_samples must be a number in 1.."),
        ({"targets": "label"}, "class_samples: the explained class is not chosen by noisy copies, got 50"),
    ):
        content = forged.provenance()
        settings = content["settings"] | changes
        honest = forged.provenance_file.read_text()
        forged.provenance_file.write_text(
            json.dumps(content | {"settings": settings, "fingerprint": fingerprint(settings)})
        )
        status, out = audit(forged, capsys)
        forged.provenance_file.write_text(honest)
        assert status == 1
        assert words in out


def test_noise_levels_want_one_class_for_all_levels(run, certify, capsys):
    config = run.path.parent / "config.yaml"
    with pytest.raises(SystemExit) as stopped:
        main(["sigmas", f"--config={config}", f"--checkpoint={config.parent}/net.safetensors"])
    assert stopped.value.code == 2
    assert "--targets=predicted" in capsys.readouterr().err
