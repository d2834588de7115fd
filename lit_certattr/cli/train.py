"""``train.py``: fit, validate and test a classifier from configuration files."""

from pathlib import Path
from typing import Any

import yaml
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

# Imported so that short class names are legal: --model.objective=CrossEntropy, --model.net=SmallCNN, --data=MNIST5k.
import lit_certattr.attribution
import lit_certattr.callbacks
import lit_certattr.certificates
import lit_certattr.models
import lit_certattr.objectives
import lit_certattr.smoothing  # noqa: F401
from lit_certattr.cli.errors import OneLineParser, one_line_errors
from lit_certattr.cli.help import ReadableHelp
from lit_certattr.data import ImageDataModule
from lit_certattr.errors import InputError
from lit_certattr.models import load_state_dict
from lit_certattr.modules import RobustClassifier, check_data

DESCRIPTION = """Train an image classifier whose explanations can be certified.

Examples:
  train.py fit --config configs/train/mnist5k_noise.yaml
  train.py fit --config configs/train/mnist5k_noise.yaml --model.objective.init_args.noise.init_args.sigma=0.5
  train.py fit --config configs/train/digits.yaml --config configs/objective/trades.yaml
  train.py fit --config configs/train/mnist5k_noise.yaml --config configs/logger/wandb_offline.yaml
  train.py test --config runs/mnist5k_noise/config.yaml --ckpt_path runs/mnist5k_noise/checkpoints/last.ckpt
Later files and arguments win over earlier ones. "train.py fit --help" lists every setting."""


class LogConfig(SaveConfigCallback):
    """Saves the resolved configuration beside the logs, and hands it to the loggers (W&B shows and compares it)."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give every logger the whole configuration; Lightning itself logs the model's part only."""
        config = yaml.safe_load(self.parser.dump(self.config))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)


class TrainCLI(LightningCLI):
    """Lightning's command line with the user's mistakes made plain."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """All of Lightning's but ``predict``: certification has its own command."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """The parser of the command and of each subcommand, with a help that reads well."""
        return super().init_parser(formatter_class=ReadableHelp, **kwargs)

    def _parse_ckpt_path(self) -> None:
        """Check the checkpoint, and leave the configuration alone.

        Lightning lets the hyper-parameters of a checkpoint override the configuration. Here the configuration
        decides: a checkpoint gives weights and progress, and never says which classes are built.
        """
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path and path not in ("best", "last", "hpc"):
            load_state_dict(path)

    def before_instantiate_classes(self) -> None:
        """Protect what an earlier run has written.

        The CSV logger deletes what it finds, so tests and resumed runs log one folder below. A ``fast_dev_run`` would
        overwrite ``last.ckpt``, so it saves nothing.
        """
        command, config = self.config.subcommand, self.config[self.config.subcommand]
        if config.trainer.fast_dev_run:
            callbacks = _as_list(config.trainer.callbacks)
            config.trainer.callbacks = [one for one in callbacks if not _is_a(one, "ModelCheckpoint")]
        if command != "fit" or config.ckpt_path:
            folder = "resumed" if command == "fit" else command
            for logger in _as_list(config.trainer.logger):
                if _is_a(logger, "CSVLogger") and logger.init_args.version is not None:
                    logger.init_args.version = str(Path(str(logger.init_args.version)) / folder)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer.

        Raises:
            InputError: If it refuses its settings.
        """
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise InputError(f"trainer: {error}") from error

    def before_fit(self) -> None:
        """Try the data, the network and the optimizer before the Trainer writes its first file."""
        self.before_test()
        self.model.configure_optimizers()

    def before_test(self) -> None:
        """Read the data and compare them with the network."""
        self.datamodule.prepare_data()
        self.datamodule.setup(str(self.subcommand))
        check_data(self.model.net, self.datamodule)

    before_validate = before_test


def _as_list(value: Any) -> list[Any]:
    """Zero, one or several parts of the configuration."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _is_a(spec: Any, name: str) -> bool:
    """Whether a part of the configuration names this class of Lightning."""
    return str(getattr(spec, "class_path", "")).endswith(f".{name}")


def main(args: ArgsType = None) -> None:
    """Run ``train.py``.

    Args:
        args: Arguments in place of the command line's.

    Raises:
        SystemExit: With status 2 and one line on stderr after a user's mistake.
    """
    with one_line_errors("train.py"):
        TrainCLI(
            RobustClassifier,
            ImageDataModule,
            subclass_mode_data=True,
            args=args,
            parser_class=OneLineParser,
            parser_kwargs={"description": DESCRIPTION},
            save_config_callback=LogConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            # Attributions in validate() and test() need gradients, which inference mode forbids for good.
            trainer_defaults={"inference_mode": False},
        )
