"""Arguments of another kind are refused in one line that names the argument, before a job does anything."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.jobs.arguments import checked
from lit_certattr.models import SmallCNN
from lit_certattr.smoothing import GaussianNoise

JOBS = [getattr(jobs, name) for name in jobs.__all__ if inspect.isfunction(getattr(jobs, name))]
CERTIFIER = Certifier(Gradient(), GaussianNoise(0.3), [PixelCertificate()], num_samples=100)
WHOLE = "must be a whole number or None, got"
FAULTS = [
    (jobs.run, {"output": 3}, "output must be a path or None, got 3"),
    (jobs.run, {"output": b"runs"}, "output must be a path or None, got b'runs'"),
    (jobs.run, {"output": ""}, "output: '' is no name for a directory or a file; . is the present directory"),
    (jobs.compare, {"directories": ["a"], "output": ""}, "output: '' is no name for a directory or a file"),
    (jobs.run, {"certifier": Certifier}, "certifier must be a Certifier, got the class Certifier"),
    (jobs.run, {"certifier": None}, "certifier must be a Certifier, got None"),
    (jobs.run, {"num_samples": 100.0}, f"num_samples {WHOLE} 100.0"),
    (jobs.run, {"seed": True}, f"seed {WHOLE} True"),
    (jobs.run, {"ids": "cat"}, "ids must be a list of texts or None, got 'cat'"),
    (jobs.run, {"ids": [3]}, r"ids must be a list of texts or None, got \[3\]"),
    (jobs.run, {"ids": {"cat": 1}}, "ids must be a list of texts or None, got {'cat': 1}"),
    (jobs.run, {"class_indices": 3}, "class_indices must be a list of whole numbers or a path or None, got 3"),
    (jobs.run, {"radii": "0.1"}, "radii must be a list of numbers or None, got '0.1'"),
    (jobs.run, {"radii": torch.ones(2)}, r"radii must be a list of numbers or None, got tensor\(\[1., 1.\]\)"),
    (jobs.run, {"max_panels": None}, "max_panels must be a whole number, got None"),
    (jobs.run, {"trainer": "cpu"}, "trainer must be a TrainerOptions, got 'cpu'"),
    (jobs.run, {"logger": True}, "logger must be a Logger or None, got True"),
    (jobs.run, {"overwrite": "no"}, "overwrite must be True or False, got 'no'"),
    (jobs.reopen, {"directory": None}, "directory must be a path, got None"),
    (jobs.audit, {"directory": ["a"]}, r"directory must be a path or a Reopened, got \['a'\]"),
    (jobs.attack, {"directory": "a", "draws": 1.5}, f"draws {WHOLE} 1.5"),
    (jobs.compare, {"directories": "runs/a"}, "directories must be a list of paths, got 'runs/a'"),
    (jobs.plan, {"methods": "GradCAM"}, "methods must be 'all' or a list of texts or None, got 'GradCAM'"),
    (jobs.evaluate, {"protocol": CERTIFIER}, "protocol must be a RobustnessProtocol, got "),
]


@pytest.mark.parametrize(("job", "arguments", "said"), FAULTS)
def test_an_argument_of_another_kind_is_named(job, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {"certifier": CERTIFIER, "data": Digits(), "network": SmallCNN(image_size=8)}
    known = {name: part for name, part in parts.items() if name in inspect.signature(job).parameters}
    with pytest.raises(InputError, match=f"^{said}") as refused:
        job(**known | arguments)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_every_job_reads_its_arguments(job):
    assert len(JOBS) == 14
    first, *_ = inspect.signature(job).parameters
    with pytest.raises(InputError, match=f"^{first} must be "):
        job(**{first: object()} | {name: object() for name in _needed(job) if name != first})


def _needed(job):
    """Names of the arguments without a default."""
    return [name for name, one in inspect.signature(job).parameters.items() if one.default is one.empty]


def test_what_is_alike_is_taken():
    """Numbers of NumPy, paths in place of text that is a path, and any collection in place of a list."""

    @checked
    def job(radii: list[float], output: str | Path, seed: int, class_indices: list[int] | str, checkpoint: str) -> str:
        return f"{len(radii)} {output} {seed} {class_indices} {checkpoint}"

    assert job(np.array([0.1, 0.2]), Path("a"), np.int64(3), Path("b"), Path("c")) == "2 a 3 b c"
    assert job((1, 2), "a", 3, range(2), "c") == "2 a 3 range(0, 2) c"


def test_a_run_that_is_not_there_is_no_question_of_output(tmp_path):
    for place, why in (("nope", "there is no such folder"), (".", "holds no run")):
        with pytest.raises(InputError, match=why) as refused:
            jobs.reopen(tmp_path / place)
        assert str(refused.value).endswith("output directory of lit-certattr certify run, or of jobs.run in Python")
    (tmp_path / "provenance.json").write_text("[]")
    with pytest.raises(InputError, match=r"is damaged; restore it from a copy, or certify again with .*overwrite=True"):
        jobs.reopen(tmp_path)


def test_no_ids_are_no_images(tmp_path):
    with pytest.raises(InputError, match="ids is empty: name at least one image, or leave it out for all"):
        jobs.run(CERTIFIER, Digits(), SmallCNN(image_size=8), output=tmp_path / "run", ids=[])


@pytest.mark.parametrize("name", ["threads", "num_nodes"])
@pytest.mark.parametrize("value", [1.5, "2"])
def test_options_of_the_trainer_are_whole_numbers(name, value, tmp_path):
    options = jobs.TrainerOptions("cpu", **{name: value})
    with pytest.raises(InputError, match=rf"trainer\.{name} must be a whole number, got {value!r}"):
        jobs.run(CERTIFIER, Digits(max_images=1), SmallCNN(image_size=8), output=tmp_path / "run", trainer=options)
