"""Faults of the machine and settings without meaning, through the real command: one line and status 2."""

import errno
import json
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
import yaml
from PIL import Image

from lit_certattr.cli.certify import main
from lit_certattr.cli.errors import machine_fault
from lit_certattr.records import RunDirectory

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

CONFIG = """
data:
  class_path: lit_certattr.data.Digits
  init_args:
    max_images: 3
certifier:
  attribution: lit_certattr.attribution.Gradient
  noise:
    class_path: lit_certattr.smoothing.GaussianNoise
    init_args:
      sigma: 0.3
  certificates:
    - class_path: lit_certattr.certificates.PixelCertificate
      init_args:
        top_k: [0.5]
  num_samples: 100
  batch_size: 50
checkpoint: network.ckpt
max_panels: 1
trainer:
  accelerator: cpu
  threads: 1
"""


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Arguments of a run that works, in a working directory of its own."""
    from lit_certattr.models import SmallCNN

    torch.manual_seed(0)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in SmallCNN(image_size=8).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, tmp_path / "network.ckpt")
    (tmp_path / "digits.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return ["run", "--config=digits.yaml", "--output=run"]


def _refusal(arguments, capsys) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    stdout, stderr = capsys.readouterr()
    assert stopped.value.code == 2
    assert stdout == ""
    lines = [line for line in stderr.splitlines() if line.startswith("certify.py: error: ")]
    assert stderr.splitlines()[-1:] == lines, stderr
    return lines[0]


# --- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("num_samples: 100", "num_samples: null", "certifier.num_samples must not be null"),
        ("batch_size: 50", "batch_size:", "certifier.batch_size must not be null"),
        ("sigma: 0.3", "sigma: null", "the following arguments are required: sigma"),
        ("top_k: [0.5]", "alpha: null", "init_args.alpha must not be null"),
        ("max_images: 3", "batch_size: null", "data.init_args.batch_size must not be null"),
        ("max_panels: 1", "max_panels: null", "max_panels must not be null"),
        ("max_panels: 1", "radii: [0.1, null]", "radii"),
        ("max_panels: 1", "max_panels: 1\nmax_panels: 2", "the key 'max_panels' is there twice"),
        ("sigma: 0.3", "sigma: 0.3\n      sigma: 0.5", "the key 'sigma' is there twice"),
        ("sigma: 0.3", "sigma: 1e400", "sigma"),
        ("sigma: 0.3", f"sigma: {'9' * 400}", "too large"),
        ("num_samples: 100", f"num_samples: {'9' * 5000}", "a number of 5000 digits"),
        ("num_samples: 100", "num_samples: 100000000000000", "num_samples"),
        ("  num_samples: 100", "\tnum_samples: 100", "digits.yaml"),
        ("threads: 1", "threads: 100000", "trainer.threads must be at most"),
        ("threads: 1", "devices: 100000", "trainer.devices must be at most"),
        ("max_images: 3", "num_workers: 100000", "num_workers must be at most"),
        ("accelerator: cpu", "accelerator: abacus", "abacus"),
        ("accelerator: cpu", "strategy: abacus", "abacus"),
    ],
)
def test_a_setting_without_meaning(arguments, tmp_path, capsys, before, after, said):
    assert before in CONFIG
    Path("digits.yaml").write_text(CONFIG.replace(before, after))
    assert said in _refusal(arguments, capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONFIG.encode("utf-16"), "save it as UTF-8"),
        (CONFIG.encode() + b"# caf\xe9", "save it as UTF-8"),
        (CONFIG.encode() + b"\0", "digits.yaml"),
        (b"", "digits.yaml"),
    ],
)
def test_another_encoding(arguments, capsys, content, said):
    Path("digits.yaml").write_bytes(content)
    assert said in _refusal(arguments, capsys)


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(arguments):
    Path("digits.yaml").write_bytes(b"\xef\xbb\xbf" + CONFIG.replace("\n", "\r\n").encode())
    main([*arguments, "--data.init_args.max_images=1"])
    assert Path("run/report.html").exists()


@pytest.mark.parametrize("radii", ["[0.1,0.1000000001]", "[.nan]", "[.inf]", "[0.1,-0.2]", "[0.1,0.1]", "[0.0,-0.0]"])
def test_radii_that_cannot_be_columns(arguments, capsys, radii):
    assert "radii must" in _refusal([*arguments, f"--radii={radii}"], capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "is no name for a directory"),
        ("network.ckpt", "is a file"),
        ("network.ckpt/below", "network.ckpt is a file"),
        ("x" * 300, "File name too long"),
        ("~nobody-of-this-name/run", "no such home directory"),
    ],
)
def test_an_output_that_cannot_be_written(arguments, capsys, output, said):
    assert said in _refusal([*arguments[:-1], f"--output={output}"], capsys)
    assert not Path("runs").exists()


def test_the_home_directory_is_not_a_folder_called_tilde(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    main([*arguments[:-1], "--output=~/run", "--data.init_args.max_images=1"])
    assert Path("home/run/report.html").exists()
    assert not Path("~").exists()


# --- the machine ----------------------------------------------------------------------------------------------


def test_a_full_disk_in_the_middle_and_the_same_command_again(arguments, capsys, monkeypatch):
    from lit_certattr.files import whole_file

    written = []
    write_bytes = Path.write_bytes

    def full(path, data):
        written.append(path.name)
        if "safetensors" in path.name and len([name for name in written if "safetensors" in name]) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(whole_file.Path, "write_bytes", full)
        line = _refusal(arguments, capsys)
    assert "cannot be written: No space left on device; free some space, then run the same command again" in line
    assert not list(Path("run").rglob("*.partial"))
    assert not Path("run/.lock").exists()
    assert len(RunDirectory("run").finished()) == 1
    main(arguments)
    assert "1 of 3 images are done already" in capsys.readouterr().err
    assert len(RunDirectory("run").finished()) == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory; choose a smaller batch size"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes."),
            "out of memory",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB. GPU 0"), "(CUDA out of memory)"),
        (OSError(errno.ENOSPC, "No space left on device", "a"), "a: No space left on device; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
        (OverflowError("int too large"), "a number is too large"),
    ],
)
def test_a_fault_of_the_machine_is_one_line(arguments, capsys, monkeypatch, error, said):
    """Wherever it happens: here while an image is sampled."""

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("lit_certattr.modules.CertificationModule.predict_step", fail)
    assert said in _refusal(arguments, capsys)
    assert not Path("run/.lock").exists()


def test_a_bug_is_no_fault_of_the_machine():
    for bug in (RuntimeError("shapes differ"), ValueError("bug"), TypeError("bug"), KeyError("bug"), AssertionError()):
        assert machine_fault(bug) is None


def test_an_image_that_changes_while_the_run_goes_on(arguments, capsys, monkeypatch):

    Path("images").mkdir()
    for name in "ab":
        Image.fromarray(np.full((8, 8), 90, dtype=np.uint8)).save(f"images/{name}.png")
    config = yaml.safe_load(CONFIG)
    init_args = {"root": "images", "size": 8, "channels": 1}
    config["data"] = {"class_path": "lit_certattr.data.ImageFolder", "init_args": init_args}
    Path("digits.yaml").write_text(yaml.safe_dump(config))
    write = RunDirectory.write

    def then_replace(directory, image_id, *args):
        write(directory, image_id, *args)
        Image.fromarray(np.full((8, 8), 91, dtype=np.uint8)).save("images/b.png")

    monkeypatch.setattr("lit_certattr.jobs.predict._LARGEST_BATCH", 1)  # or both are read before one is written
    monkeypatch.setattr(RunDirectory, "write", then_replace)
    assert "image b.png has changed since it was first read" in _refusal(arguments, capsys)
    assert RunDirectory("run").finished() == {"a.png"}


# --- two processes, signals, kills ----------------------------------------------------------------------------


def test_a_directory_in_use(arguments, capsys):
    Path("run").mkdir()
    started = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
    lock = {"pid": os.getppid(), "host": socket.gethostname(), "started": started}
    Path("run/.lock").write_text(json.dumps(lock))
    line = _refusal(arguments, capsys)
    assert f"in use by process {os.getppid()} on {socket.gethostname()}" in line
    assert [path.name for path in Path("run").iterdir()] == [".lock"]
    Path("run/.lock").write_text(json.dumps(lock | {"started": "1"}))  # that number belongs to another process now
    main([*arguments, "--data.init_args.max_images=1"])
    assert not Path("run/.lock").exists()


def _started(arguments, *extra: str) -> processes.Started:
    """The command in a process of its own, after the first image that it has added."""
    before = len(list(Path("run/images").glob("[!.]*")))
    process = processes.start(Path("program").absolute(), processes.CERTIFY, *arguments, *extra)
    while len(list(Path("run/images").glob("[!.]*"))) == before:
        assert process.runs(), process.end()
        time.sleep(0.02)
    return process


def _content(folder: str) -> dict[str, bytes]:
    """All that a run leaves but where and when it ran."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    skipped = ("provenance.json", "config.yaml")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in skipped}


@pytest.mark.xdist_group("processes")
def test_signals_end_a_run_in_order_and_what_resumes_equals_a_whole_run(arguments, capsys):
    long = ["--data.init_args.max_images=8", "--certifier.num_samples=4000"]
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = _started(arguments, *long)
        process.signal(number)
        ended, stdout, stderr = process.end()
        assert ended == status, stderr
        last = stderr.splitlines()[-1]
        assert last.startswith(
            f"certify.py: stopped by {number.name}. Finished images are kept; to resume, run: python "
        )
        assert last.endswith(" ".join([*arguments, *long]))
        assert "Traceback" not in stderr
        assert stdout == ""
        assert not Path("run/.lock").exists()
    process = _started(arguments, *long)
    process.signal(signal.SIGKILL)
    process.end()
    assert Path("run/.lock").exists()
    main([*arguments, *long])
    assert "images are done already" in capsys.readouterr().err
    main([*arguments[:-1], *long, "--output=whole"])
    assert _content("run") == _content("whole")
    assert "report.html" in _content("run")
    assert not list(Path("run").rglob(".*"))
