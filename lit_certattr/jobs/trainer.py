"""Device, precision and threads of a job."""

import os
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lit_certattr.errors import InputError
from lit_certattr.jobs.chatter import without_chatter
from lit_certattr.jobs.launch import check_launch, of_the_queue
from lit_certattr.settings import check_count, check_processes, whole_number

Precision = Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"]


@dataclass
class TrainerOptions:
    """Device, precision and threads, for Lightning's Trainer.

    Args:
        accelerator: cpu, cuda, mps, ..., or auto.
        devices: Number of devices (processes on a CPU) of each machine, or auto.
        num_nodes: Number of machines; a launcher (torchrun, SLURM) starts the processes on each of them.
        strategy: Lightning's strategy; auto uses ddp for several devices.
        precision: Arithmetic of the network. It changes the certified function: use the precision of the deployed
            network.
        threads: CPU threads per process; null keeps torch's choice. A setting that influences the results bit by bit.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Precision = "32-true"
    threads: int | None = None


def use_threads(threads: int | None) -> None:
    """Set torch's number of CPU threads; ``None`` keeps its choice.

    Args:
        threads: Number of threads.

    Raises:
        InputError: If the number is below 1, or more than a machine can start.
    """
    if threads is None:
        return
    if whole_number("trainer.threads", threads) < 1:
        raise InputError(f"trainer.threads must be at least 1 or null, got {threads}")
    check_count("trainer.threads", threads)
    torch.set_num_threads(threads)


def make_trainer(options: TrainerOptions, logger: Logger | None = None) -> Trainer:
    """The Trainer of a predict loop.

    Args:
        options: Device, precision and threads.
        logger: A Lightning logger.

    Raises:
        InputError: If Lightning refuses the settings, if the number of devices is too large for any machine, or if a
            launcher has started another number of processes.
    """
    if str(options.devices).isdecimal():
        check_processes("trainer.devices", int(options.devices))
    whole_number("trainer.num_nodes", options.num_nodes, least=1)
    try:
        with without_chatter():
            trainer = Trainer(
                accelerator=options.accelerator,
                devices=options.devices,
                num_nodes=options.num_nodes,
                strategy=options.strategy,
                precision=options.precision,
                plugins=of_the_queue(),
                default_root_dir=os.devnull,  # no folder: in a job of SLURM, hpc_ckpt_*.ckpt in it would be loaded
                logger=logger if logger is not None else False,
                use_distributed_sampler=False,  # processes that are free take the next images
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                inference_mode=False,  # attributions need gradients
            )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise InputError(f"trainer: {error}{_remedy(options.accelerator)}") from None
    environment = getattr(trainer.strategy, "cluster_environment", None)
    check_launch(trainer.num_devices, trainer.num_nodes, environment)
    _pass_signals_on(trainer)
    return trainer


def _remedy(accelerator: str) -> str:
    """What to do where there is no such accelerator."""
    if accelerator in ("auto", "cpu"):
        return ""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES={hidden} decides which devices are seen)"
    return f"; accelerator=auto takes what this machine has{seen}"


def _pass_signals_on(trainer: Trainer) -> None:
    """Let SIGTERM reach the processes that the Trainer has started, and nothing more.

    Lightning also sends a tensor to all processes from inside the handler. If one of them has died, or waits in another
    collective operation, that fails or never ends, wherever the program happens to be.
    """
    connector: Any = getattr(trainer, "_signal_connector", None)

    def notify(signum: int, _: FrameType | None) -> None:
        launcher = trainer.strategy.launcher
        if launcher is not None and not trainer.received_sigterm:
            launcher.kill(signum)
        connector.received_sigterm = True

    if hasattr(connector, "_sigterm_notifier_fn"):
        connector._sigterm_notifier_fn = notify


def is_first_process() -> bool:
    """Whether this process writes and prints: the first process of a Trainer, or the only one."""
    return getattr(rank_zero_only, "rank", 0) == 0
