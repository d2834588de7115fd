"""The predict loop of all jobs: a module processes the images, callbacks store the results."""

import warnings
from collections.abc import Sequence

from lightning import Callback, Trainer
from torch.utils.data import DataLoader

from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.data import SampleSet, collate
from lit_certattr.jobs.chatter import without_chatter
from lit_certattr.modules.image import ImageModule


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
        batch_size: Images per batch.
        num_workers: Processes that read images; 0 reads in the main process.
        progress: Whether to show the progress on stderr.
    """
    module.allow_zero_length_dataloader_with_multiple_devices = True  # fewer images than devices
    trainer.callbacks += [*([CertificationProgress()] if progress else []), *callbacks]  # type: ignore[attr-defined]
    loader = DataLoader(samples, batch_size=batch_size, num_workers=num_workers, collate_fn=collate)
    with without_chatter(), warnings.catch_warnings():
        # One image is seconds to minutes of work: reading it needs no worker process.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        trainer.predict(module, dataloaders=loader, return_predictions=False)
