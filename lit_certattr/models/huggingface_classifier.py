"""Image classifiers of Hugging Face transformers."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError, single_line
from lit_certattr.models.layers import keep_inputs
from lit_certattr.models.normalize import Normalize
from lit_certattr.settings.extras import extra

_UNKNOWN = ("rescale_offset", "include_top")
"""Settings of image processors that change pixels in ways that no mean and standard deviation describe."""


class HuggingFaceClassifier(nn.Module):
    """An image classifier of Hugging Face transformers that takes images in [0, 1] and gives logits.

    The rescaling and normalisation of its image processor become the first layer, and its size is declared
    (``input_size``), so that pictures are scaled to it. Only safetensors weights are loaded, no code of the model's
    repository runs, and nothing is downloaded unless ``download`` is set. Needs ``transformers``, an optional package.

    Args:
        path: A folder that ``save_pretrained`` has written, or the name of a model, which is taken from the cache.
        download: Download the model of that name if it is not in the cache.
        mean: Channel means of the images in [0, 1]; ``None`` for those of the image processor.
        std: Channel standard deviations, positive; ``None`` as for ``mean``.

    Attributes:
        class_names: Name of each logit.
        input_size: Channels, height and width that the model expects; ``None`` if unknown.

    Raises:
        InputError: If ``transformers`` is missing, there is no such model, it has no weights in safetensors or no
            weights for its classifier, or its image processor is unknown and ``mean`` or ``std`` is not given.

    Example:
        >>> network = HuggingFaceClassifier("google/vit-base-patch16-224", download=True)  # doctest: +SKIP
        >>> network.class_names[282]  # doctest: +SKIP
        'tiger cat'
    """

    def __init__(
        self,
        path: str | Path,
        download: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        name = str(Path(path).expanduser()) if Path(path).expanduser().is_dir() else str(path)
        self.network = _load(name, download)
        processor = _processor(name, download)
        config = self.network.config
        channels = int(getattr(config, "num_channels", 3))
        own_mean, own_std = _statistics(processor, name, known=mean is not None and std is not None)
        statistics = [list(own if given is None else given) for given, own in ((mean, own_mean), (std, own_std))]
        self.normalize = Normalize(*(one * channels if len(one) == 1 else one for one in statistics))
        self.class_names = [str(config.id2label[index]) for index in range(config.num_labels)]
        self.num_classes = int(config.num_labels)
        size = _size(processor, getattr(config, "image_size", None))
        self.input_size: tuple[int, int, int] | None = None if size is None else (channels, *size)
        keep_inputs(self.network)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]`` in [0, 1]."""
        return self.network(pixel_values=self.normalize(images)).logits  # type: ignore[no-any-return]


def _load(name: str, download: bool) -> Any:
    """The model with its weights, in float32, checked to be complete."""
    with extra("huggingface", "HuggingFaceClassifier"):
        from transformers import AutoModelForImageClassification
    options = {"local_files_only": not download, "use_safetensors": True, "trust_remote_code": False}
    try:
        with _quiet():
            network, loaded = AutoModelForImageClassification.from_pretrained(
                name, output_loading_info=True, dtype=torch.float32, **options
            )
    except Exception as error:  # the library and its hub raise what their transport raises
        raise InputError(f"the model {name} cannot be loaded ({single_line(error):.200}); {_remedy(name)}") from error
    missing = sorted(loaded["missing_keys"]) + [str(key) for key in loaded["mismatched_keys"]]
    if missing:
        raise InputError(
            f"the model {name} holds no weights for {missing[0]}, so its logits would be random: choose a model that "
            "was trained to classify images"
        )
    return network.eval()


def _remedy(name: str) -> str:
    folder = Path(name)
    if folder.is_dir():
        if any(folder.glob("pytorch_model*.bin")):
            return "only safetensors are loaded: save it again with save_pretrained"
        return "give a folder that save_pretrained of an image classifier has written"
    return "give an existing folder, or the name of a model with download=True"


def _processor(name: str, download: bool) -> Mapping[str, Any]:
    """The settings of the image processor, which are data; empty if there are none."""
    file = Path(name) / "preprocessor_config.json"
    if Path(name).is_dir():
        if not file.exists():
            return {}
        try:
            settings = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read ({single_line(error)})") from error
        return settings if isinstance(settings, dict) else {}
    with extra("huggingface", "HuggingFaceClassifier"):
        from transformers.image_processing_base import ImageProcessingMixin

    try:
        with _quiet():
            found, _ = ImageProcessingMixin.get_image_processor_dict(name, local_files_only=not download)
    except OSError:
        return {}
    return dict(found)


def _statistics(processor: Mapping[str, Any], name: str, known: bool) -> tuple[list[float], list[float]]:
    """Mean and standard deviation for images in [0, 1], of a processor that rescales bytes and normalises."""
    if known:
        return [0.0], [1.0]
    if not processor:
        raise InputError(f"the model {name} has no image processor: give mean and std, one number per channel each")
    odd = next((setting for setting in _UNKNOWN if processor.get(setting)), None)
    if odd is not None:
        raise InputError(f"the image processor of {name} sets {odd}: give mean and std for images in [0, 1]")
    scale = 255 * float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 255.0
    mean, std = [0.0], [1.0]
    if processor.get("do_normalize", True):
        try:
            mean, std = ([float(one) for one in processor[key]] for key in ("image_mean", "image_std"))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"the image processor of {name} names no image_mean and image_std: give mean and std"
            ) from None
    return [one / scale for one in mean], [one / scale for one in std]


def _size(processor: Mapping[str, Any], declared: Any) -> tuple[int, int] | None:
    """Height and width of the images: what is cut out in the end, else what they are resized to, else the model's."""
    wanted = [processor.get("crop_size")] if processor.get("do_center_crop") else []
    wanted += [processor.get("size")] if processor.get("do_resize", True) else []
    for size in (*wanted, declared):
        if isinstance(size, Mapping):
            sides = size.get("height", size.get("shortest_edge")), size.get("width", size.get("shortest_edge"))
        else:
            sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
        if len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
            return sides
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and advice of the library while it loads."""
    with extra("huggingface", "HuggingFaceClassifier"):
        from transformers.utils import logging as theirs

    bars, level = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()
    theirs.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()
