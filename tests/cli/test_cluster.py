"""``certify.py run`` on several processes and machines: who does what, and what is left when one of them dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from lit_certattr import jobs
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

ROOT = Path(__file__).parents[2]
PART = "lit_certattr.certificates.{}"
CONFIG = {
    "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 5}},
    "certifier": {
        "attribution": "lit_certattr.attribution.Gradient",
        "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.3}},
        "certificates": [
            {"class_path": PART.format("PixelCertificate"), "init_args": {"top_k": [0.5, 0.2]}},
            {"class_path": PART.format("CosineCertificate"), "init_args": {"num_selection": 60}},
        ],
        "num_samples": 400,
        "batch_size": 50,
    },
    "max_panels": 0,
    "trainer": {"accelerator": "cpu", "threads": 1},
}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Arguments of a run, without its output."""
    tmp_path = tmp_path_factory.mktemp("settings")
    torch.manual_seed(0)
    state = {f"net.{name}": value for name, value in SmallCNN(image_size=8).state_dict().items()}
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, tmp_path / "digits.ckpt")
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(CONFIG))
    return ["run", f"--config={tmp_path / 'digits.yaml'}", f"--checkpoint={tmp_path / 'digits.ckpt'}"]


def _content(folder: Path) -> dict[str, bytes]:
    """All that a run leaves but where and when it ran."""
    skipped = ("provenance.json", "config.yaml")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in skipped]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _differing(folder: Path, expected: dict[str, bytes]) -> list[str]:
    """Names of the files that are other than expected."""
    content = _content(folder)
    return sorted(name for name in content.keys() | expected.keys() if content.get(name) != expected.get(name))


def _started(folder: Path, *command: object, **variables: str) -> subprocess.Popen[str]:
    words = [sys.executable, *map(str, command)]
    where = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=where)


def _said(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What processes said until all ended; if one fails, the others, which may wait for it for minutes, are killed."""
    end = time.monotonic() + 280
    while any(one.poll() is None for one in processes) and not any(one.poll() for one in processes):
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    for one in processes:
        if one.poll() is None:
            one.kill()
    return [one.communicate() for one in processes]


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _until_first(output: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the first image is finished."""
    while not list(output.glob("images/[!.]*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def _tasks(count: int, folder: Path, *arguments: str) -> list[subprocess.Popen[str]]:
    """The command as tasks of SLURM on this machine."""
    slurm = {
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NAME": "certify",
        "SLURM_NTASKS": str(count),
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_NTASKS_PER_NODE": str(count),
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_port()),
    }
    command = [ROOT / "certify.py", *arguments, f"--devices={count}"]
    return [
        _started(folder, *command, **slurm, SLURM_PROCID=str(task), SLURM_LOCALID=str(task)) for task in range(count)
    ]


def _below(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def one(arguments, tmp_path_factory):
    """What one process writes."""
    return _whole(arguments, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """What a longer run writes that nobody kills."""
    return _whole([*arguments, *LONG], tmp_path_factory.mktemp("whole"))


def _whole(arguments: list[str], folder: Path) -> dict[str, bytes]:
    _run(folder, *arguments, f"--output={folder / 'run'}")
    return _content(folder / "run")


def _run(folder: Path, *arguments: str) -> None:
    """The command in one process, with the figures of a user, not the quick ones of tests."""
    process = _started(folder, ROOT / "certify.py", *arguments)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr


@pytest.mark.parametrize("split", ["images", "samples"])
def test_two_machines_of_torchrun_write_the_bytes_of_one_process(arguments, one, tmp_path, split):
    port, started = _port(), []
    for node in (0, 1):
        torchrun = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", f"--node_rank={node}"]
        torchrun += ["--master_addr=127.0.0.1", f"--master_port={port}"]
        command = [*arguments, f"--output={tmp_path / 'two'}", "--num_nodes=2", "--devices=1", f"--split={split}"]
        started.append(_started(tmp_path, *torchrun, ROOT / "certify.py", *command))
    said = _said(started)
    assert [process.returncode for process in started] == [0, 0], said
    assert _differing(tmp_path / "two", one) == []
    (session,) = RunDirectory(tmp_path / "two").provenance()["sessions"]
    assert (session["processes"], session["images"], session["samples"]) == (2, 5, 2000)
    assert session.get("split", "images") == split
    assert [stderr.count("certify.py: warning: only ") for _, stderr in said] == [1, 0], said


def test_three_tasks_of_slurm_on_two_images_write_the_bytes_of_one_process(arguments, tmp_path):
    few = ["--max_images=2"]  # fewer images than devices
    _run(tmp_path, *arguments, *few, f"--output={tmp_path / 'one'}")
    tasks = _tasks(3, tmp_path, *arguments, *few, f"--output={tmp_path / 'three'}")
    said = _said(tasks)
    assert [task.returncode for task in tasks] == [0, 0, 0], said
    assert _differing(tmp_path / "three", _content(tmp_path / "one")) == []


def test_three_processes_evaluate_the_batches_of_one(arguments, tmp_path):
    """Batches decide about last bits: those of 20, 20 and 10 images stay what they are, whoever takes them."""
    command = ["evaluate", f"--config={ROOT}/configs/protocol/mnist5k.yaml", arguments[2], "--data=Digits"]
    command += ["--data.init_args.max_images=50", "--data.init_args.batch_size=20", "--protocol.attribution=Gradient"]
    command += ["--protocol.objective.init_args.top_k=12", "--protocol.search.steps=3", "--protocol.top_k=12"]
    command += ["--protocol.prediction_search.steps=3", "--protocol.windows=[1]"]
    command += ["--trainer.accelerator=cpu", "--trainer.threads=1"]
    _run(tmp_path, *command, f"--output={tmp_path / 'one'}")
    tasks = _tasks(3, tmp_path, *command, f"--output={tmp_path / 'three'}")
    said = _said(tasks)
    assert [task.returncode for task in tasks] == [0, 0, 0], said
    assert _differing(tmp_path / "three", _content(tmp_path / "one")) == []


@pytest.mark.parametrize("mistake", ["--num_samples=5", "--checkpoin=some.ckpt"])
def test_torchrun_prints_a_refusal_once(arguments, tmp_path, mistake):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*arguments, mistake, f"--output={tmp_path / 'run'}", "--devices=2"]
    process = _started(tmp_path, *torchrun, ROOT / "certify.py", *command)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 1, "the status of torchrun"
    (line,) = [line for line in stderr.splitlines() if line.startswith("certify.py: ")]
    assert line.startswith("certify.py: error: ")
    assert "process" not in line, "it is that of the first process"


LONG = ["--num_samples=8000", "--max_images=4"]
KEPT = "finished images are kept; run the same command again to resume\n"


@pytest.mark.parametrize("split", ["images", "samples"])
def test_a_killed_process_ends_the_run_in_one_line_and_the_same_command_resumes(arguments, whole, tmp_path, split):
    command = [*arguments, *LONG, f"--split={split}", f"--output={tmp_path / 'run'}", "--devices=2"]
    process = _started(tmp_path, ROOT / "certify.py", *command)
    _until_first(tmp_path / "run", process)
    (second,) = _below(process.pid)
    os.kill(second, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    last = [line for line in stderr.splitlines(keepends=True) if "error" in line]
    assert last == [f"certify.py: error: process 1 of 2 has ended (killed by SIGKILL); {KEPT}"], stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "run" / ".lock").exists()
    done = len(RunDirectory(tmp_path / "run").finished())
    assert 1 <= done < 4, "it was to be killed in the middle"
    _run(tmp_path, *arguments, *LONG, f"--output={tmp_path / 'run'}")
    assert _differing(tmp_path / "run", whole) == []


def test_a_killed_first_process_ends_the_others_too(arguments, tmp_path):
    process = _started(tmp_path, ROOT / "certify.py", *arguments, *LONG, f"--output={tmp_path / 'run'}", "--devices=2")
    _until_first(tmp_path / "run", process)
    (second,) = _below(process.pid)
    process.kill()
    _, stderr = process.communicate(timeout=120)  # the pipe ends with the last process
    assert not Path(f"/proc/{second}").exists() or Path(f"/proc/{second}/stat").read_text().split()[2] == "Z"
    assert stderr.endswith(f"certify.py: error: process 1: another process of this command has ended; {KEPT}")


def test_a_signal_before_the_time_of_a_job_ends_is_one_line_and_the_same_command_resumes(arguments, whole, tmp_path):
    tasks = _tasks(2, tmp_path, *arguments, *LONG, f"--output={tmp_path / 'run'}")
    _until_first(tmp_path / "run", tasks[0])
    told = jobs.status(tmp_path / "run").working
    assert [(one.rank, one.holder.pid) for one in told] == [(rank, task.pid) for rank, task in enumerate(tasks)]
    for task in tasks:  # as --signal=USR1@120 does
        task.send_signal(signal.SIGUSR1)
    said = [task.communicate(timeout=120)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [138, 138], said
    last = said[0].splitlines()[-1]
    assert last.startswith("certify.py: stopped by SIGUSR1. Finished images are kept; to resume, run: python "), said
    assert said[1] == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "no checkpoint, which the next job would load"
    assert not list((tmp_path / "run").glob(".*")), "neither the lock nor files of the processes"
    assert 1 <= len(RunDirectory(tmp_path / "run").finished()) < 4, "it was to be stopped in the middle"
    _run(tmp_path, *arguments, *LONG, f"--output={tmp_path / 'run'}")
    assert _differing(tmp_path / "run", whole) == []


def test_torchrun_starts_a_killed_run_again_and_it_resumes(arguments, whole, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=1"]
    command = [*arguments, *LONG, f"--output={tmp_path / 'run'}", "--devices=2"]
    own_store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # or the new processes may find the addresses of the old
    process = _started(tmp_path, *torchrun, ROOT / "certify.py", *command, **own_store)
    _until_first(tmp_path / "run", process)
    for worker in _below(process.pid):
        if "RANK=1" in Path(f"/proc/{worker}/environ").read_text().split("\0"):
            os.kill(worker, signal.SIGKILL)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    assert _differing(tmp_path / "run", whole) == []
    sessions = RunDirectory(tmp_path / "run").provenance()["sessions"]
    assert ["finished" in session for session in sessions] == [False, True]
    assert sessions[1]["images"] < 4
    assert "images are done already" in stderr
