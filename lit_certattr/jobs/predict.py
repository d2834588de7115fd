"""The loop that all jobs share: a module goes over images, callbacks keep what it finds."""

import warnings
from collections.abc import Sequence

from lightning import Callback, Trainer
from torch.utils.data import DataLoader

from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.data import SampleSet, collate
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
    """Let a module go over images.

    Args:
        trainer: Where the work is done.
        module: Does it.
        samples: The images.
        callbacks: Keep what the module finds.
        batch_size: Images in a batch.
        num_workers: Processes that read images.
        progress: Whether progress is shown on stderr.
    """
    module.allow_zero_length_dataloader_with_multiple_devices = True  # fewer images than devices
    trainer.callbacks += [*([CertificationProgress()] if progress else []), *callbacks]  # type: ignore[attr-defined]
    loader = DataLoader(samples, batch_size=batch_size, num_workers=num_workers, collate_fn=collate)
    with warnings.catch_warnings():
        # One image is seconds to minutes of work: reading it needs no worker process.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        trainer.predict(module, dataloaders=loader, return_predictions=False)
