"""Checkpoints that are written beside the file that they replace."""

import io
from pathlib import Path
from typing import Any

import torch
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.cloud_io import get_filesystem
from typing_extensions import override

from lit_certattr.files.whole_file import whole_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's usual plugin, but a local checkpoint appears whole or not at all.

    Lightning writes it to the folder of temporary files and moves it. Where that folder is on another disk, the move is
    a copy, and a process that is killed meanwhile leaves half a checkpoint under its final name. Where it is small, as
    memory often is, the checkpoint does not fit. And a killed process leaves a file there that nobody deletes.

    Example:
        >>> from lightning import Trainer
        >>> trainer = Trainer(plugins=[WholeCheckpointIO()])
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if storage_options is not None or not isinstance(get_filesystem(path), LocalFileSystem):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(LocalFileSystem._strip_protocol(str(path)))
        place.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # torch hides the error of a file that it writes to
        torch.save(checkpoint, content)
        with whole_file(place) as file:
            file.write(content.getbuffer())
