"""Trainings that are logged to Weights & Biases: best values, checkpoints as artifacts, and resumed runs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from lit_certattr.callbacks.certification import CertificationCallback
from lit_certattr.callbacks.metric_gate import MetricGate
from lit_certattr.metrics.naming import directions_of, named_metrics
from lit_certattr.reports.wandb_run import KEY, Direction, checkpoint_artifact, define_best

_TRAINING: dict[str, Direction] = {
    "train/loss": "min",
    "val/loss": "min",
    "val/accuracy": "max",
    "val/noisy_accuracy": "max",
    "val/psnr": "max",
}


class WandbRun(Callback):
    """Gives Weights & Biases what its logger does not; without a ``WandbLogger`` this callback does nothing.

    ``train.py`` adds it to every training.

    - **Summary**: the best value of each metric stands beside the last one, e.g. ``val/accuracy.max`` and
      ``val/accuracy.last``. Metrics without a better direction, such as null baselines, have the last value only.
    - **Artifacts**: at the end of ``fit`` the checkpoints are versions of the artifact ``checkpoint-<id of the run>``,
      with the names of their files as aliases (``best``, ``last``). They are *references*: W&B gets path, size and
      digest, and the weights stay where they are. ``WandbLogger(log_model=True)`` uploads weights, too. A run of
      certification of such a checkpoint uses the same version.
    - **Resuming**: checkpoints hold the id of the run, and a training that ``train.py fit --ckpt_path`` resumes goes on
      under it.

    Example:
        >>> logger = WandbLogger(project="lit-certattr", offline=True)
        >>> trainer = Trainer(callbacks=[WandbRun()], logger=logger)
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Define what the summary shows, before the first metric is logged."""
        for logger in _wandb(trainer):
            define_best(logger.experiment, directions(trainer.callbacks))  # type: ignore[attr-defined]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Record the id of the run."""
        for logger in _wandb(trainer)[:1]:
            checkpoint[KEY] = logger.version

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the checkpoints and the configuration."""
        found = {Path(one.best_model_path) for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)}
        files = sorted(path for path in found if path.is_file())
        config = Path(trainer.log_dir or ".") / "config.yaml"
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for logger in _wandb(trainer):
            run = logger.experiment
            for file in files:
                last = metrics if file.stem == "last" else {}
                artifact = checkpoint_artifact(file, run.id, {"file": file.name, "epoch": trainer.current_epoch} | last)
                run.log_artifact(artifact, aliases=["latest", file.stem])
            if files and config.is_file():
                run.log_artifact(str(config), name=f"config-{run.id}", type="config")


def directions(callbacks: Iterable[Callback]) -> dict[str, Direction]:
    """Whether a larger or a smaller value is better, for each metric of a training of which this is known.

    Args:
        callbacks: The Trainer's callbacks, which log further metrics.
    """
    found = dict(_TRAINING)
    for one in callbacks:
        if isinstance(one, CertificationCallback):
            found |= directions_of(named_metrics(one.certifier.certificates, one.radii))
        elif isinstance(one, MetricGate):
            found[one.name] = found.get(one.metric, "max")
    return found


def _wandb(trainer: Trainer) -> list[WandbLogger]:
    """The loggers of W&B, in the first process; a ``fast_dev_run`` has none."""
    return [one for one in trainer.loggers if isinstance(one, WandbLogger)] if trainer.is_global_zero else []
