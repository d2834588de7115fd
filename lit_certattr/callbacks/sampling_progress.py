"""Progress of the sampling, shown together with the Trainer's own progress."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning import Trainer
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities import rank_zero_info


@contextmanager
def sampling_progress(
    trainer: Trainer, total: int, description: str = "Certification"
) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left below the Trainer's bar; one line if there is no bar or no terminal.

    Args:
        trainer: The Trainer; its progress bar may be rich's, tqdm's, or none.
        total: Number of samples to draw.
        description: Name of the bar.

    Yields:
        A function; call it with the number of samples of each finished block.
    """
    bar = trainer.progress_bar_callback
    if isinstance(bar, RichProgressBar) and bar.progress is not None and bar.progress.console.is_terminal:
        progress = bar.progress
        task = progress.add_task(description, total=total)
        bar.refresh(hard=True)

        def advance(samples: int) -> None:
            progress.update(task, advance=samples)
            bar.refresh()

        try:
            yield advance
        finally:
            progress.remove_task(task)
    elif isinstance(bar, TQDMProgressBar) and not bar.is_disabled:
        below = 2 * bar.process_position + 1 + (trainer.state.fn != "validate")
        with Tqdm(
            desc=description,
            total=total,
            position=below,
            leave=False,
            dynamic_ncols=True,
            file=sys.stdout,
            unit="sample",
        ) as tqdm:
            yield lambda samples: tqdm.update(samples) and None
    else:
        yield _estimate(total, description)


def _estimate(total: int, description: str) -> Callable[[int], None]:
    """Print one forecast of the duration after two blocks, if it exceeds ten seconds."""
    started, done, blocks = time.monotonic(), 0, 0

    def advance(samples: int) -> None:
        nonlocal done, blocks
        done, blocks = done + samples, blocks + 1
        if blocks == 2:
            rate = done / max(time.monotonic() - started, 1e-9)
            left = (total - done) / rate
            if left > 10:
                rank_zero_info(f"{description}: {rate:.0f} samples/s, about {left:.0f} s for {total} samples")

    return advance
