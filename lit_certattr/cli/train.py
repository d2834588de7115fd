"""``train.py``: fit, validate and test a classifier or a denoiser from configuration files."""

import os
import pickle
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn

# Imported so that short class names are legal: --model.objective=CrossEntropy, --model.net=SmallCNN, --data=MNIST5k.
import lit_certattr.attribution
import lit_certattr.callbacks
import lit_certattr.certificates
import lit_certattr.models
import lit_certattr.objectives
import lit_certattr.smoothing  # noqa: F401
from lit_certattr.callbacks import LastCheckpoint, WandbRun
from lit_certattr.cli.errors import OneLineParser, machine_fault, one_line_errors
from lit_certattr.cli.help import ReadableHelp
from lit_certattr.cli.program import typed_again
from lit_certattr.cli.quick import remember
from lit_certattr.cli.run_names import name_loggers, training_label
from lit_certattr.cli.signals import stop_on_signals
from lit_certattr.cli.trained_kind import training_module
from lit_certattr.data import as_image_data
from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import AGAIN
from lit_certattr.models.checkpoint_file import read_checkpoint
from lit_certattr.reports.wandb_run import KEY, run_id

_MANY = 1000
"""Number of batches that is assumed of data without a length, for the steps between two lines of the log."""

DESCRIPTION = """Train an image classifier whose attribution maps can be certified, or a denoiser for a classifier.

Examples:
  train.py fit --config configs/train/mnist5k_noise.yaml
  train.py fit --config configs/train/mnist5k_noise.yaml --model.objective.init_args.noise.init_args.sigma=0.5
  train.py fit --config configs/train/digits.yaml --config configs/objective/trades.yaml
  train.py fit --config configs/train/mnist5k_noise.yaml --config configs/logger/wandb_offline.yaml
  train.py fit --config configs/train/mnist5k_noise.yaml --ckpt_path runs/mnist5k_noise/checkpoints/last.ckpt
  train.py test --config runs/mnist5k_noise/config.yaml --ckpt_path runs/mnist5k_noise/checkpoints/last.ckpt
  train.py fit --config configs/train/denoiser.yaml --data.init_args.root my_photographs
Later files and arguments override earlier ones. A configuration with model.denoiser in place of model.net trains a
denoiser. "train.py fit --help" lists every setting for a classifier, "train.py fit --config
configs/train/denoiser.yaml --help" those for a denoiser."""


class LogConfig(SaveConfigCallback):
    """Saves the resolved configuration with the logs, and logs it (W&B shows and compares it)."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the whole configuration to every logger; Lightning itself logs only the settings of the model."""
        config = yaml.safe_load(self.parser.dump(self.config))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)


class TrainCLI(LightningCLI):
    """Lightning's command line with clear messages about mistakes of the user.

    Args:
        *args: Arguments of ``LightningCLI``.
        last: Callback that saves the last epoch of ``fit``.
        **kwargs: Further arguments of ``LightningCLI``.
    """

    def __init__(self, *args: Any, last: LastCheckpoint, **kwargs: Any) -> None:
        self.last = last
        self._checkpoints: str | None = None  # the folder of the run that is resumed, where the loggers fix it
        self._wandb: str | None = None  # the id of the run that is resumed
        super().__init__(*args, **kwargs)  # runs the command

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """All subcommands of Lightning except ``predict``: certification has its own command."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """The parser of the command and of each subcommand, with a readable help."""
        return super().init_parser(formatter_class=ReadableHelp, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the command line; its options are left for the next command."""
        remember("train", self._subcommand_parsers)
        super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """Check the checkpoint, without changing the configuration.

        Lightning lets the hyper-parameters of a checkpoint override the configuration. Here the configuration
        decides: a checkpoint gives weights and progress, and never says which classes are built.
        """
        config = self.config[self.config.subcommand]
        path = config.get("ckpt_path")
        if path == "best":
            raise InputError(
                "ckpt_path=best has a meaning only inside a run: give the file, runs/NAME/checkpoints/best.ckpt"
            )
        if not path or path in ("last", "hpc"):
            return
        content = read_checkpoint(Path(path))
        wanted = ("state_dict", "loops", "optimizer_states") if self.config.subcommand == "fit" else ("state_dict",)
        missing = next((key for key in wanted if key not in content), None)
        if missing is not None:
            raise InputError(
                f"ckpt_path: {path} is not a checkpoint of train.py (it has no {missing!r}); load weights alone with "
                "the network's own setting, for example --model.net.init_args.weights"
            )
        if self.config.subcommand == "fit":
            self._wandb = run_id(content.get(KEY))
        if self.config.subcommand == "fit" and config.trainer.max_epochs is not None:
            _warn_if_finished(path, content, config.trainer.max_epochs)

    def before_instantiate_classes(self) -> None:
        """Protect the files of an earlier run, and save the last epoch of this run.

        The CSV logger deletes existing files, so tests and resumed runs log to a subfolder, also those that a queue
        resumes; a resumed run saves its checkpoints in the same folder as before. A ``fast_dev_run`` would overwrite
        ``last.ckpt``, so it saves nothing.
        """
        command, config = self.config.subcommand, self.config[self.config.subcommand]
        trainer = config.trainer
        checkpoints = [one for one in _as_list(trainer.callbacks) if _is_a(one, "ModelCheckpoint")]
        if trainer.fast_dev_run:
            trainer.callbacks = [one for one in _as_list(trainer.callbacks) if one not in checkpoints]
        elif command == "fit":
            self._save_last(trainer, checkpoints)
            own = self.trainer_defaults.get("callbacks", [])
            self.trainer_defaults = {**self.trainer_defaults, "callbacks": [*own, WandbRun()]}
        if command == "fit" and not config.ckpt_path and not _queue_resumes(trainer.default_root_dir):
            return
        for logger in _as_list(trainer.logger):
            if _is_a(logger, "CSVLogger") and logger.init_args.version is not None:
                self._checkpoints = self._checkpoints or _checkpoints_of(logger.init_args)
                _log_below(logger.init_args, "resumed" if command == "fit" else command)
        # That they are there is no news to whoever resumes.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")

    def _save_last(self, trainer: Any, checkpoints: list[Any]) -> None:
        """Add the callback that saves the last epoch, in the folder of the best checkpoints."""
        for one in checkpoints:
            one.init_args.save_last = None  # Lightning's last one is the last of the best
        if checkpoints and checkpoints[0].init_args.dirpath:
            self.last.place(checkpoints[0].init_args.dirpath)
        if trainer.enable_checkpointing is not False:
            self.trainer_defaults = {**self.trainer_defaults, "callbacks": [self.last]}

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer.

        Raises:
            InputError: If Lightning refuses the settings.
        """
        self.config = self._typed
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise InputError(f"trainer: {error}") from error
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = self._checkpoints
        return trainer

    def instantiate_classes(self) -> None:
        """Build the Trainer, the model and the data; a data module from outside the package is wrapped.

        Loggers get names that are not saved: the configuration is that of many runs.
        """
        self._typed, self.config = self.config, deepcopy(self.config)
        command, config = str(self.config.subcommand), self.config[self.config.subcommand]
        label = training_label(config, "train" if command == "fit" else command)
        name_loggers(config.trainer.logger, label, self._wandb)
        super().instantiate_classes()
        self.datamodule = as_image_data(self.datamodule)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """The arguments of the Trainer; a checkpoint that Lightning itself chooses is read as data, never as code.

        In a job of SLURM that is any ``hpc_ckpt_*.ckpt`` in ``trainer.default_root_dir``. A file that the user names
        was checked before.
        """
        given: dict[str, Any] = super()._prepare_subcommand_kwargs(subcommand)
        if given.get("weights_only") is None and given.get("ckpt_path") in (None, "last", "hpc"):
            given["weights_only"] = True
        return given

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command.

        Raises:
            InputError: If a checkpoint that Lightning has chosen could run code.
        """
        try:
            super()._run_subcommand(subcommand)
        except pickle.UnpicklingError as error:
            raise InputError(
                "the checkpoint that is to be resumed (hpc_ckpt_*.ckpt in trainer.default_root_dir, in a job of "
                "SLURM; or --ckpt_path=last) is damaged, or holds a pickled object that could run code: not loaded; "
                "delete it, or give a checkpoint of train.py with --ckpt_path"
            ) from error

    def before_fit(self) -> None:
        """Check the data, the network and the optimizer before the Trainer writes its first file.

        Unless the user sets ``log_every_n_steps``, short epochs are logged more often than Lightning's every 50 steps.

        Raises:
            InputError: If there is no batch to train on, or data, network and optimizer do not fit.
        """
        self.before_test()
        self.model.configure_optimizers()
        batches = self._batches_per_epoch()
        if batches < 1:
            raise InputError("there is no batch to train on; raise --trainer.limit_train_batches, or give more images")
        if self.config.fit.trainer.log_every_n_steps is None:
            trainer: Any = self.trainer
            trainer.log_every_n_steps = max(1, min(trainer.log_every_n_steps, batches // 5))

    def before_test(self) -> None:
        """Read the data and compare them with the network."""
        self.datamodule.prepare_data()
        self.datamodule.setup(str(self.subcommand))
        self.model.check(self.datamodule)

    before_validate = before_test

    def _batches_per_epoch(self) -> int:
        """Number of training batches per epoch; the Trainer itself counts them too late."""
        limit = self.trainer.limit_train_batches
        try:
            batches = len(self.datamodule.train_dataloader())
        except TypeError:  # a user's data set without a length
            return limit if isinstance(limit, int) else _MANY
        processes = self.trainer.world_size
        batches = -(-batches // processes)
        return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _queue_resumes(folder: str | None) -> bool:
    """Whether Lightning resumes from a checkpoint of its own: it saves one when SLURM is about to end a job."""
    return SLURMEnvironment.detect() and any(Path(folder or ".").glob("hpc_ckpt_*.ckpt"))


def _warn_if_finished(path: str, content: Mapping[Any, Any], max_epochs: int) -> None:
    """Warn if no epoch is left to train."""
    try:
        finished = int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError, ValueError):
        return  # the module refuses it later
    if 0 <= max_epochs <= finished:
        rank_zero_warn(
            f"{path} has finished {finished} epochs, and max_epochs is {max_epochs}: nothing is trained; "
            "to continue, raise --trainer.max_epochs",
            stacklevel=5,
        )


def _checkpoints_of(logger: Any) -> str:
    """Folder in which Lightning saves the checkpoints of a run with this logger."""
    # Callbacks compare this string with the one in the checkpoint, and a Path would change "./runs".
    return os.path.join(str(logger.save_dir), str(logger.name), str(logger.version), "checkpoints")  # noqa: PTH118


def _log_below(logger: Any, name: str) -> None:
    """Let a CSV logger write to a subfolder: ``resumed``, then ``resumed_2``, ..."""
    below = Path(str(logger.version)) / name
    number = 1
    while name == "resumed" and (Path(logger.save_dir) / str(logger.name) / below).exists():
        number += 1
        below = below.with_name(f"{name}_{number}")
    logger.version = str(below)


def _as_list(value: Any) -> list[Any]:
    """Zero, one or several parts of the configuration."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _is_a(spec: Any, name: str) -> bool:
    """Whether a part of the configuration names this class of Lightning."""
    return str(getattr(spec, "class_path", "")).endswith(f".{name}")


def main(args: ArgsType = None) -> None:
    """Run ``train.py``.

    Args:
        args: Arguments; ``None`` uses those of the command line.

    Raises:
        SystemExit: With status 2 and one line on stderr after a mistake of the user or if the training diverges; with
            128 plus the number of the signal, and a line that says how to resume, if a signal stops the command.
    """
    last = LastCheckpoint()
    typed = [str(argument) for argument in sys.argv[1:]] if args is None else args
    with (
        one_line_errors("train.py"),
        stop_on_signals("train.py", lambda: _how_to_resume(typed, last)),
        _faults_say_how_to_resume(typed, last),
    ):
        TrainCLI(
            training_module(typed),
            LightningDataModule,
            last=last,
            subclass_mode_data=True,
            args=args,
            parser_class=OneLineParser,
            parser_kwargs={"prog": "train.py", "description": DESCRIPTION},
            save_config_callback=LogConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            # Attributions in validate() and test() need gradients, which inference mode forbids for good.
            trainer_defaults={"inference_mode": False},
        )


@contextmanager
def _faults_say_how_to_resume(typed: Any, last: LastCheckpoint) -> Iterator[None]:
    """The same command would train anew: a fault after which others resume so names the command that does."""
    try:
        yield
    except (OSError, InputError) as error:
        said = str(error) if isinstance(error, InputError) else machine_fault(error) or ""
        if not said.endswith(AGAIN):
            raise
        raise InputError(f"{said.removesuffix(AGAIN)}. {_how_to_resume(typed, last)}") from None


def _how_to_resume(typed: Any, last: LastCheckpoint) -> str:
    """One line after an interruption: what is saved, and the command that resumes."""
    arguments = [str(argument) for argument in typed] if isinstance(typed, list) else []
    if "fit" not in arguments:
        return f"Nothing was changed; to start again, run: {typed_again('train.py', arguments)}"
    if last.saved is None:
        resumed = any(argument.startswith("--ckpt_path") for argument in arguments)
        what = "resume" if resumed else "start again"
        return f"No epoch was finished, so nothing new is saved; to {what}, run: {typed_again('train.py', arguments)}"
    saved = f"--ckpt_path={os.path.relpath(last.saved)}"
    return (
        "All finished epochs are kept, the unfinished one is discarded; to resume, run: "
        f"{typed_again('train.py', [*_without_checkpoint(arguments), saved])}"
    )


def _without_checkpoint(arguments: list[str]) -> list[str]:
    """The arguments without an earlier ``--ckpt_path``."""
    kept = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if before != "--ckpt_path" and argument != "--ckpt_path"
    ]
    return [argument for argument in kept if not argument.startswith("--ckpt_path=")]
