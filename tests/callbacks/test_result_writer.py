"""The writer and the progress in a real predict loop, without the command line."""

import io

import pytest
import torch
from lightning import Trainer
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import CertificationProgress, ResultWriter
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import SampleSet, collate
from lit_certattr.errors import InputError
from lit_certattr.modules import CertificationModule, RobustClassifier
from lit_certattr.objectives import CrossEntropy
from lit_certattr.records import RunDirectory
from lit_certattr.smoothing import GaussianNoise

IDS = ["d", "a", "c", "b"]


class Stop(Exception):
    pass


@pytest.fixture
def samples():
    return SampleSet(torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)), [0, 1, 2, -1], IDS)


@pytest.fixture
def module():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=60, batch_size=20)
    return CertificationModule(network, certifier)


def _predict(module, samples, path, batch_size=1, inference_mode=False, extra=()):
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=inference_mode,
        callbacks=[*extra, ResultWriter(RunDirectory(path), {"any": 1}, samples.ids, class_names=["x", "y", "z"])],
    )
    loader = DataLoader(samples, batch_size=batch_size, collate_fn=collate)
    trainer.predict(module, loader, return_predictions=False)


def _bytes(path):
    files = [path / "results.parquet", *path.glob("maps/*"), *path.glob("images/*")]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_everything_is_there_when_the_loop_ends(module, samples, tmp_path):
    _predict(module, samples, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    assert directory.finished() == set(IDS)
    assert directory.report.exists()
    record = directory.read("c")
    index = IDS.index("c")
    assert torch.equal(record.image, samples.images[index])
    target = record.results["pixel"].sampling["target"]
    expected = Gradient()(module.network, samples.images[index][None], torch.tensor([target]))[0]
    assert torch.equal(record.clean_map, expected)
    assert record.facts["label_name"] == "z"
    assert record.facts["target"] == target == record.facts["prediction"]
    assert "label_name" not in directory.read("b").facts


@pytest.mark.parametrize(("batch_size", "inference_mode"), [(1, True), (3, False)])
def test_the_loader_and_the_trainer_do_not_matter(module, samples, tmp_path, batch_size, inference_mode):
    _predict(module, samples, tmp_path / "one")
    _predict(module, samples, tmp_path / "other", batch_size, inference_mode)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "other")


def test_each_image_is_on_disk_before_the_next_is_sampled(module, samples, tmp_path):
    seen = []
    original = module.predict_step

    def watched(batch, batch_idx):
        seen.append(len(RunDirectory(tmp_path / "run").finished()))
        if batch_idx == 3:
            raise Stop
        return original(batch, batch_idx)

    module.predict_step = watched
    with pytest.raises(Stop):
        _predict(module, samples, tmp_path / "run")
    assert seen == [0, 1, 2, 3]
    module.predict_step = original
    _predict(module, samples, tmp_path / "run")
    _predict(module, samples, tmp_path / "whole")
    assert _bytes(tmp_path / "run") == _bytes(tmp_path / "whole")
    assert [entry["images"] for entry in RunDirectory(tmp_path / "run").provenance()["sessions"]] == [4, 1]


@pytest.mark.parametrize("ending", [Stop, KeyboardInterrupt, SystemExit])
def test_what_an_interrupted_batch_has_certified_is_kept(module, samples, tmp_path, ending):
    done = []

    class Stopping(Certifier):
        def __call__(self, *arguments, **options):
            done.append(None)
            if len(done) == 4:
                raise ending
            return super().__call__(*arguments, **options)

    module.certifier.__class__ = Stopping
    with pytest.raises(BaseException) as caught:  # Lightning ends the process after an interrupt
        _predict(module, samples, tmp_path / "run", batch_size=4)
    assert caught.type in (ending, SystemExit)
    directory = RunDirectory(tmp_path / "run")
    assert directory.finished() == {"d", "a", "c"}
    assert not directory.lock.path.exists()
    module.certifier.__class__ = Certifier
    _predict(module, samples, tmp_path / "run", batch_size=4)
    _predict(module, samples, tmp_path / "whole")
    assert _bytes(tmp_path / "run") == _bytes(tmp_path / "whole")
    assert [entry["images"] for entry in directory.provenance()["sessions"]] == [4, 1]


def test_a_module_of_another_kind_is_refused(samples, tmp_path):
    module = RobustClassifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), CrossEntropy())
    with pytest.raises(InputError, match="works with a CertificationModule"):
        _predict(module, samples, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_logs_without_a_terminal_are_plain_lines(module, samples, tmp_path):
    out = io.StringIO()
    progress = CertificationProgress(Console(file=out, force_terminal=False))
    _predict(module, samples, tmp_path / "run", extra=[progress])
    first, last = out.getvalue().splitlines()
    assert first.startswith("4 images x 60 samples, ")
    assert ": about " in first
    assert last.startswith("4 images certified in ")
    assert "\x1b" not in out.getvalue()
    assert module.on_block is None
    out.truncate(0)
    _predict(module, samples, tmp_path / "run", extra=[progress])
    assert "4 of 4 images are done already." in out.getvalue()


def test_a_terminal_gets_a_bar_that_goes_away(module, samples, tmp_path):
    out = io.StringIO()
    progress = CertificationProgress(Console(file=out, force_terminal=True, width=100, no_color=True, highlight=False))
    _predict(module, samples, tmp_path / "run", extra=[progress])
    assert "certifying" in out.getvalue()
    assert "left" in out.getvalue()
    assert "4 images certified in " in out.getvalue().splitlines()[-1]


def test_an_exception_stops_the_bar(module, samples, tmp_path):
    progress = CertificationProgress(Console(file=io.StringIO(), force_terminal=True))

    def fail(batch, batch_idx):
        raise Stop

    module.predict_step = fail
    with pytest.raises(Stop):
        _predict(module, samples, tmp_path / "run", extra=[progress])
    assert progress._bar is None
    assert module.on_block is None
