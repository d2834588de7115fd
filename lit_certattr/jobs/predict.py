"""The predict loop of all jobs: a module processes the images, callbacks store the results."""

import os
import time
import warnings
from collections.abc import Sequence

from lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lit_certattr.callbacks.job_writer import KEPT, JobWriter
from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.data import SampleSet, collate
from lit_certattr.errors import InputError, SharedError
from lit_certattr.jobs.chatter import without_chatter
from lit_certattr.modules.image import ImageModule
from lit_certattr.processes import ImageQueue, Team, lost_process

_OF_WATCH = 2.0  # seconds
_LARGEST_BATCH = 16
_NOISY_VALUES = 2**17  # pixel values of noisy copies: a fraction of a second of work, which a kill may cost


def images_per_batch(image: Tensor, num_samples: int) -> int:
    """Number of images that share a turn of the Trainer's loop, where they are processed one by one.

    A turn costs about as much as a few samples of a tiny image. With larger images it costs nothing, and a batch would
    take memory.

    Args:
        image: One of the images.
        num_samples: Samples per image.

    Example:
        >>> import torch
        >>> images_per_batch(torch.zeros(1, 8, 8), 100), images_per_batch(torch.zeros(3, 224, 224), 1000)
        (16, 1)
    """
    return max(1, min(_LARGEST_BATCH, _NOISY_VALUES // (num_samples * image.numel())))


def predict(
    trainer: Trainer,
    module: ImageModule,
    samples: SampleSet,
    callbacks: Sequence[Callback],
    *,
    batch_size: int = 1,
    num_workers: int = 0,
    progress: bool = True,
) -> None:
    """Run the predict loop.

    Args:
        trainer: The Trainer.
        module: The module that processes the images.
        samples: The images.
        callbacks: Callbacks that store the results.
        batch_size: Images per batch. A process that is free takes the next batch.
        num_workers: Processes that read images; 0 reads in the main process. Several processes read in the main
            process, since a worker would take images from the queue long before they are needed.
        progress: Whether to show the progress on stderr.

    Raises:
        InputError: If another process has died; the message says what is kept, and how to go on.
    """
    module.allow_zero_length_dataloader_with_multiple_devices = True  # fewer images than devices
    trainer.callbacks += [*([CertificationProgress()] if progress else []), *callbacks]  # type: ignore[attr-defined]
    sampler = None
    if trainer.world_size > 1:
        num_workers = 0
        if not module.together:
            sampler = _queue(trainer, module, samples, callbacks, batch_size)
    loader = DataLoader(samples, batch_size, sampler=sampler, num_workers=num_workers, collate_fn=collate)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of processes to be started: a lost connection is one line
    with without_chatter(), warnings.catch_warnings():
        # One image is seconds to minutes of work: reading it needs no worker process.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        try:
            trainer.predict(module, dataloaders=loader, return_predictions=False)
        except RuntimeError as error:
            if lost_process(error):
                if getattr(trainer.strategy.launcher, "procs", None):
                    time.sleep(_OF_WATCH)  # whoever watches the processes that this one started says which has died
                kind = InputError if trainer.global_rank <= 1 else SharedError  # the first may be the one that is gone
                raise kind(f"another process of this command has ended; {KEPT}") from None
            raise


def _queue(
    trainer: Trainer, module: ImageModule, samples: SampleSet, callbacks: Sequence[Callback], batch_size: int
) -> ImageQueue:
    """The images, for whichever process is free."""
    writer = next((one for one in callbacks if isinstance(one, JobWriter)), None)
    environment = getattr(trainer.strategy, "cluster_environment", None)
    address = "localhost" if environment is None else environment.main_address
    team = Team if writer is None else lambda: writer.team
    return ImageQueue(samples.ids, team, lambda: module.skip_ids, address, batch_size)
