"""Two remedies for a network that does not see through noise, trained on the same images; neither for want of time.

    python -m benchmarks.fine_tuned FOLDER    # images in FOLDER/train, without labels; 6 to 13 CPU minutes each
    python -m benchmarks.denoised run --images OTHER_IMAGES --weights runs/denoiser/checkpoints/best.ckpt \
        --fine_tuned runs/fine_tune_noise/checkpoints/final.ckpt --output runs/benchmarks/fine_tuned.jsonl
    python -m benchmarks.denoised table --output runs/benchmarks/fine_tuned.jsonl

The denoiser, and EfficientNet-Lite0 fine-tuned with its own predictions as labels, as `train.py fit` trains them with
the configurations of this repository; only the number of epochs differs, so that fine-tuning gets no less time than the
denoiser. Prints the processor time of each training.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from lit_certattr.cli import train

CONFIGS = Path(__file__).parents[1] / "configs"
DENOISER_EPOCHS, FINE_TUNING_EPOCHS = 4, 9


def denoiser(images: Path) -> list[str]:
    """Arguments of `train.py fit` for the denoiser."""
    return [
        f"--config={CONFIGS}/train/denoiser.yaml",
        f"--data.init_args.root={images}",
        *_epochs(DENOISER_EPOCHS),
    ]


def fine_tuning(images: Path) -> list[str]:
    """Arguments of `train.py fit` for the network."""
    return [
        f"--config={CONFIGS}/train/fine_tune_noise.yaml",
        f"--config={CONFIGS}/data/predicted_labels.yaml",
        f"--data.init_args.data.init_args.root={images}",
        *_epochs(FINE_TUNING_EPOCHS),
    ]


def _epochs(number: int) -> list[str]:
    return [f"--trainer.max_epochs={number}", f"--model.scheduler.init_args.T_max={number}"]


def main(argv: Sequence[str] | None = None) -> None:
    """Train both."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fine_tuned",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", type=Path, help="folder with the images in its sub-folder train")
    parser.add_argument("--only", choices=["denoiser", "fine-tuning"], help="one of the two")
    parsed = parser.parse_args(argv)
    images = parsed.images
    torch.set_num_threads(1)
    sys.argv = ["train.py"]
    shared = ["--trainer.accelerator=cpu", "--trainer.precision=bf16-mixed", "--trainer.enable_progress_bar=false"]
    for name, arguments in {"denoiser": denoiser(images), "fine-tuning": fine_tuning(images)}.items():
        if parsed.only not in (None, name):
            continue
        begin = time.process_time()
        train.main(["fit", *arguments, *shared])
        print(f"{name}: {time.process_time() - begin:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
