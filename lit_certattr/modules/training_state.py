"""What a checkpoint must hold besides weights and optimizer, so that a resumed run repeats an uninterrupted one."""

import random
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch import distributed

from lit_certattr.errors import InputError


def random_states(device: torch.device) -> list[dict[str, Any]]:
    """States of the random generators of every process: torch, NumPy, Python, and the device in use.

    They are plain values and tensors, so that a checkpoint with them loads with ``weights_only=True``. A data loader
    takes its shuffled order and the seeds of its workers from torch's generator.

    Args:
        device: Device of the network.
    """
    version, words, spare = random.getstate()
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 (the one that other code may use)
    own: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, torch.tensor(words), spare],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *rest],  # type: ignore[union-attr]
    }
    if device.type != "cpu":
        own["device"] = torch.get_device_module(device).get_rng_state(device)
    if not (distributed.is_available() and distributed.is_initialized()):
        return [own]
    everywhere: list[dict[str, Any]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(everywhere, own)
    return everywhere


def restore_random_states(states: list[dict[str, Any]], device: torch.device, rank: int, world_size: int) -> bool:
    """Restore the states of the random generators from a checkpoint.

    Args:
        states: What :func:`random_states` returned.
        device: Device of the network.
        rank: Rank of this process.
        world_size: Number of processes.

    Returns:
        Whether the run can be repeated exactly: with the same number of processes, on the same type of device.

    Raises:
        InputError: If the states cannot be read.
    """
    try:
        if len(states) != world_size:
            return False
        own = states[rank]
        version, words, spare = own["python"]
        kind, keys, *rest = own["numpy"]
        torch.set_rng_state(own["torch"])
        random.setstate((version, tuple(words.tolist()), spare))
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        if device.type == "cpu":
            return True
        if "device" in own:
            torch.get_device_module(device).set_rng_state(own["device"], device)
        return "device" in own
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise InputError("the checkpoint's random states cannot be read; it may be damaged") from error


def pending_plateau(trainer: Trainer) -> list[float | None]:
    """The metric of each scheduler that Lightning steps only after the checkpoint of an epoch is saved.

    These schedulers monitor a metric (``ReduceLROnPlateau``): their step is neither in the checkpoint nor repeated when
    a run resumes. The value is ``None`` for all other schedulers, and where the step has been taken.

    Args:
        trainer: Trainer that saves a checkpoint.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    pending = progress.processed == progress.completed + 1
    values: list[float | None] = []
    for config in trainer.lr_scheduler_configs:
        metric = trainer.callback_metrics.get(str(config.monitor)) if config.reduce_on_plateau and pending else None
        values.append(None if metric is None else float(metric))
    return values


def step_pending_plateau(trainer: Trainer, values: list[float | None]) -> None:
    """Take the steps of :func:`pending_plateau`, once schedulers and optimizers are restored.

    Args:
        trainer: Trainer that has resumed.
        values: What :func:`pending_plateau` returned.
    """
    for config, value in zip(trainer.lr_scheduler_configs, values, strict=False):
        if config.reduce_on_plateau and isinstance(value, float):
            config.scheduler.step(value)  # type: ignore[arg-type]
