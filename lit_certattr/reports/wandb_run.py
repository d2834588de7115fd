"""What Weights & Biases gets beside metrics: best values in the summary of a run, and artifacts with their lineage."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint_file import read_checkpoint
from lit_certattr.records.run_directory import RunDirectory

if TYPE_CHECKING:
    from wandb import Artifact

KEY = "wandb_run"
"""Where checkpoints and ``provenance.json`` hold the id of the run that logged them."""
STEP = "trainer/global_step"
"""Axis of all metrics: in a resumed offline run W&B's own step starts at 0 again."""
MAX_COPIED = 64 * 2**20
"""Bytes; larger files of a run directory are no part of its artifact."""

Direction = Literal["max", "min"]


def define_best(run: Any, directions: Mapping[str, Direction]) -> None:
    """Let the summary of a run show the best value of each metric beside the last one.

    The columns are then ``certified/one_share_k25_r0_10.max`` and ``certified/one_share_k25_r0_10.last``. In a sweep
    the summary keeps the last value alone, under the plain name: the sweep reads its metric there.

    Args:
        run: The run of W&B.
        directions: Whether a larger or a smaller value is better, by the name of the metric.
    """
    for name, direction in directions.items():
        if getattr(run, "sweep_id", None) is None:
            run.define_metric(name, step_metric=STEP, step_sync=True, summary=f"{direction},last")


def run_id(value: Any) -> str | None:
    """The id of a run that a file names; ``None`` if it is none: files are untrusted.

    Args:
        value: Anything.

    Example:
        >>> run_id("1a2b3c4d"), run_id("../../x"), run_id(7)
        ('1a2b3c4d', None, None)
    """
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) else None


def checkpoint_artifact(path: str | Path, owner: str, metadata: Mapping[str, Any] | None = None) -> "Artifact":
    """A checkpoint as an artifact by reference: W&B gets the path and a digest of the content, not the weights.

    The digest of the artifact depends on the content of the file only. A run of training and a run that certifies its
    checkpoint therefore name the same version, wherever the file lies.

    Args:
        path: The file.
        owner: Id of the run of training.
        metadata: Plain values that are shown with it.
    """
    import wandb

    artifact = wandb.Artifact(f"checkpoint-{owner}", type="model", metadata=dict(metadata or {}))
    artifact.add_reference(Path(path).expanduser().resolve().as_uri(), name="checkpoint.ckpt")
    return artifact


def use_checkpoint(run: Any, path: str | Path) -> None:
    """Record that a run uses a checkpoint, so that W&B draws the line from its training to this run.

    The name of the artifact also stands in the configuration of the run (``checkpoint_artifact``). Weights of a
    training that was not logged to W&B get an artifact that is named after the file.

    Args:
        run: The run of W&B.
        path: The checkpoint.
    """
    try:
        owner = run_id(read_checkpoint(Path(path)).get(KEY))
    except InputError:
        owner = None  # a file of weights only, which others read
    artifact = checkpoint_artifact(path, owner or re.sub(r"[^A-Za-z0-9_.-]", "_", Path(path).stem)[:64])
    run.config.update({"checkpoint_artifact": f"{artifact.name}@{artifact.digest}"}, allow_val_change=True)
    if run.offline:
        # use_artifact() refuses to work offline, since it waits for the server. This is what it does before it waits;
        # "wandb sync" sends the record.
        run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact)


def log_certification(run: Any, directory: RunDirectory) -> None:
    """Log results, settings and report of a run of certification as an artifact that this run has made.

    Args:
        run: The run of W&B.
        directory: The finished run directory. Certificates and images of single images stay there.
    """
    import wandb

    artifact = wandb.Artifact(f"certification-{run.id}", type="certification")
    files = (directory.table, directory.config, directory.provenance_file, directory.report)
    for file in files:
        if file.is_file() and file.stat().st_size <= MAX_COPIED:
            artifact.add_file(str(file), name=file.name)
    run.log_artifact(artifact)
