"""The audit of a run whose files lie in ZIPs: an honest one passes, a forged one is found."""

import shutil
import zipfile

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.audit.audit import audit_run
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import ImageDataModule, SampleSet
from lit_certattr.files.packed import members_of, read_member, write_packed
from lit_certattr.jobs import TrainerOptions
from lit_certattr.records import RunDirectory
from lit_certattr.smoothing import GaussianNoise


class Few(ImageDataModule):
    """Seven random images."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes, self.class_names, self.image_shape = 3, ["a", "b", "c"], (1, 4, 4)

    def setup(self, stage: str) -> None:
        """Draw them."""
        images = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        self.test_set = SampleSet(images, [-1] * 7, [f"image-{number}" for number in range(7)])


def certify(path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=60, batch_size=60)
    options = TrainerOptions("cpu", devices=1, threads=1)
    return jobs.run(certifier, Few(), network, output=path, trainer=options, max_panels=1, progress=False)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A finished run, never touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "group_size", 3)
        return certify(tmp_path_factory.mktemp("honest") / "run")


@pytest.fixture
def run(honest, tmp_path):
    shutil.copytree(honest.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def _findings(run):
    return [str(finding) for finding in audit_run(RunDirectory(run.path), pages=False).findings]


def _members(path):
    return [(name, read_member(path, name, 2**20)) for name in members_of(path)]


def test_an_honest_run_passes_with_its_page(run):
    assert sorted(path.name for path in run.maps.iterdir()) == ["00000.zip", "00001.zip", "image-6.safetensors"]
    assert not run.parts.exists()
    found = audit_run(run)
    assert found.findings == []
    assert (len(found.ids), found.num_certificates) == (7, 7)


def test_the_settings_may_change_the_number_of_images_per_zip(run, honest, tmp_path):
    """The noise, the table and the page do not depend on how files are packed."""
    other = certify(tmp_path / "other")
    assert len(list(other.maps.iterdir())) == 7
    assert pq.read_table(other.table).equals(pq.read_table(run.table))
    assert other.report.read_bytes() == honest.report.read_bytes()


def test_a_certificate_of_another_image_is_found(run):
    path = run.maps / "00000.zip"
    members = _members(path)
    members[0] = (members[0][0], members[1][1])
    write_packed(path, members)
    assert any("image-0: " in line and "digest differs" in line for line in _findings(run))


def test_a_member_of_no_image_is_found(run):
    for folder in (run.maps, run.images):
        write_packed(folder / "00000.zip", [*_members(folder / "00000.zip"), ("more.safetensors", b"x")])
    found = _findings(run)
    assert "maps/00000.zip: more.safetensors in it belongs to no image of the run" in found


def test_an_image_that_lies_in_two_places_is_found(run):
    for folder in (run.maps, run.images):
        write_packed(folder / "00002.zip", _members(folder / "00000.zip")[:1])
    (run.images / "image-3.safetensors").write_bytes(b"x")
    found = _findings(run)
    assert "images/00002.zip: image-0.safetensors in it lies in 00000.zip, too" in found
    assert "images/00001.zip: image-3.safetensors in it also lies beside it" in found


@pytest.mark.parametrize("damage", ["missing", "cut off", "compressed"])
def test_a_zip_that_is_not_whole_is_found(run, damage):
    path = run.maps / "00001.zip"
    members = _members(path)
    path.unlink()
    if damage == "cut off":
        write_packed(path, members)
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "compressed":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in members:
                packed.writestr(name, content)
    found = _findings(run)
    assert "images/00001.zip: does not hold the images of maps/00001.zip" in found
    assert any(line.startswith("maps/00001.zip: ") for line in found) == (damage != "missing")
    assert any("maps/image-3.safetensors: is missing" in line for line in found)


def test_a_part_that_was_left_is_found_unless_the_run_is_unfinished(run):
    run.parts.mkdir()
    shutil.copy(run.table, run.parts / "00000.parquet")
    assert "results/00000.parquet: is no file of a run" in _findings(run)
    run.table.unlink()
    assert not any("results/" in line for line in _findings(run))


def test_the_other_jobs_read_it(run, honest):
    found = jobs.compare([run.path, honest.path], names=["one", "other"])
    assert found.differences
    assert all(one.num_larger == one.num_smaller == 0 for pair in found.differences.values() for one in pair.values())
    assert b"image-3" in jobs.export(run.path, "csv", per_image=True)
