"""Progress of a run, counted in samples: a forecast of its duration, a progress bar, and the time left."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from lit_certattr.modules.image import ImageModule

_QUIET = 15.0  # seconds between two lines where there is no terminal


def duration(seconds: float) -> str:
    """A duration in words.

    Args:
        seconds: Duration in seconds.

    Example:
        >>> duration(9), duration(340), duration(30000)
        ('9 s', '5 min 40 s', '8 h 20 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class CertificationProgress(Callback):
    """Progress bar with the time left, counted in noisy samples, and a forecast of the duration after two batches.

    For the predict loop of an :class:`~lit_certattr.modules.image.ImageModule`, e.g. a :class:`CertificationModule`.
    With several processes, the first process shows its own share. If the output is not a terminal (CI logs), plain
    lines replace the bar: the forecast, then at most one line per fifteen seconds.

    Args:
        console: Output; ``None`` is stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._images = self._finished = self._done = self._total = self._per_image = self._blocks = 0
        self._started_with, self._patience = 0, 2
        self._most = False
        self._processes = 1
        self._clock = self._first = self._spoke = 0.0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the images and samples to do, and receive the progress of the sampling."""
        if not (trainer.is_global_zero and isinstance(pl_module, ImageModule)):
            return
        loader: Any = trainer.predict_dataloaders
        dataset = loader.dataset
        todo = sum(image_id not in pl_module.skip_ids for image_id in dataset.ids)
        self._processes = 1 if pl_module.together else trainer.world_size
        self._images = -(-todo // self._processes)
        self._per_image = pl_module.samples_per_image
        self._total = self._images * self._per_image
        self._most, self._patience = pl_module.may_stop_early, pl_module.blocks_to_forecast
        if pl_module.together:  # the blocks of a round come at once
            self._patience = max(self._patience, trainer.world_size + 1)
        self._done = self._finished = self._blocks = 0
        self._clock = self._spoke = time.perf_counter()
        if len(dataset) > todo:
            self._say(f"{len(dataset) - todo} of {len(dataset)} images are done already.")
        if not todo:
            return
        if self.console.is_terminal:
            columns = (TextColumn(pl_module.doing), BarColumn(), _Counts(self))
            self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=4)
            self._bar.add_task("", total=self._total)
            self._bar.start()
        pl_module.on_block = self.on_block

    def on_block(self, samples: int) -> None:
        """Receive the progress; the certifier calls this after each block.

        Args:
            samples: Number of samples of the finished block.
        """
        now = time.perf_counter()
        self._done += samples
        self._blocks += 1
        if self._blocks == 1:
            self._first, self._started_with = now, self._done
        if self._blocks == self._patience:  # the first batch also pays for start-up
            self._forecast((self._done - self._started_with) / max(now - self._first, 1e-9))
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
        elif self._blocks > self._patience and now - self._spoke >= _QUIET:
            self._spoke = now
            self._say(self.line())

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the finished images, and subtract the samples that images did not need if they stopped early."""
        assert isinstance(pl_module, ImageModule)
        for _, outcome in outputs or ():
            self._finished += 1
            self._total -= self._per_image - pl_module.samples_of(outcome)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=self._total)

    def line(self) -> str:
        """The state of the run in one line."""
        rate = self._done / max(time.perf_counter() - self._clock, 1e-9)
        left = duration((self._total - self._done) / rate) if self._done else "?"
        most = "at most " if self._most else ""
        return f"{self._finished}/{self._images} images, {rate:,.0f} samples/s, {most}{left} left"

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the duration and the speed."""
        self._stop(pl_module)
        if self._done:
            seconds = time.perf_counter() - self._clock
            rate = self._done / max(seconds, 1e-9)
            share = " in the first process" if self._processes > 1 else ""
            done = pl_module.done if isinstance(pl_module, ImageModule) else "done"
            self._say(f"{_images(self._finished)} {done}{share} in {duration(seconds)}, {rate:,.0f} samples/s")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the terminal."""
        self._stop(pl_module)
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            self._say("Interrupted; run the same command again to resume.")

    def _forecast(self, rate: float) -> None:
        cost = duration(self._total / rate)
        share = " in each process" if self._processes > 1 else ""
        most, about = ("at most ", "at most") if self._most else ("", "about")
        work = f"{_images(self._images)} x {most}{self._per_image} samples{share}"
        self._say(f"{work}, {rate:,.0f} samples/s: {about} {cost}")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def _stop(self, pl_module: LightningModule) -> None:
        if isinstance(pl_module, ImageModule):
            pl_module.on_block = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


class _Counts(ProgressColumn):
    """The text to the right of the bar."""

    def __init__(self, progress: CertificationProgress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, task: Task) -> Text:
        return Text(self.progress.line())
