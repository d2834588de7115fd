"""The processes that a launcher has started must be those that the settings count on."""

import os

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from lit_certattr.errors import InputError


def started_processes() -> tuple[str, int] | None:
    """The launcher that started this process, and how many processes it has started.

    Returns:
        Name and number; ``None`` if no launcher did. A batch script of SLURM that runs a command without ``srun`` has
        started one process, whatever was reserved.
    """
    if TorchElasticEnvironment.detect():
        return "torchrun", TorchElasticEnvironment().world_size()
    if SLURMEnvironment.detect() and (tasks := os.environ.get("SLURM_STEP_NUM_TASKS", "")).isdecimal():
        return "srun", int(tasks)
    return None


def of_the_queue() -> ClusterEnvironment | None:
    """What Lightning needs to know of SLURM, if it has started this process and torchrun has not.

    By itself Lightning would answer SIGUSR1 with a checkpoint in the present folder, and submit the job again, also
    where it predicts. A job of this package resumes from its own directory, and the batch script decides whether it is
    submitted again.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return None
    return SLURMEnvironment(auto_requeue=False)


def check_launch(num_devices: int, num_nodes: int, environment: ClusterEnvironment | None = None) -> None:
    """Refuse a number of processes other than that of the launcher: they would wait for each other, or work twice.

    Args:
        num_devices: Devices of each machine.
        num_nodes: Number of machines.
        environment: What tells the processes where the others are; ``None`` for a single process.

    Raises:
        InputError: If the numbers differ; the message names the options.

    Example:
        >>> check_launch(num_devices=1, num_nodes=1)
    """
    launched = started_processes()
    if launched is None:
        if (
            num_nodes > 1
            and isinstance(environment, LightningEnvironment)
            and not {"NODE_RANK", "GROUP_RANK"} & set(os.environ)
        ):
            raise InputError(
                f"--num_nodes={num_nodes}, but no launcher has started this process: use torchrun or srun on each "
                "machine (docs/cluster.md)"
            )
        return
    launcher, count = launched
    if count != num_devices * num_nodes:
        raise InputError(
            f"{launcher} has started {count} process{'es' * (count > 1)}, but --devices={num_devices} and "
            f"--num_nodes={num_nodes} make {num_devices * num_nodes}: give --devices with the number of processes on "
            "each machine, and --num_nodes with the number of machines"
        )
