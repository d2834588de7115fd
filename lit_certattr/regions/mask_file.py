"""One mask for all images."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions
from lit_certattr.regions.mask_folder import mask_of


class MaskFile(Regions):
    """Regions from one file for all images, such as the parts of a registered scan or of a fixed camera.

    Args:
        path: A PNG file or a NumPy array, as :class:`MaskFolder` reads them: one whole number per pixel, 0 is no region
            unless ``background`` is set; or booleans ``[m, H, W]``. It is scaled to the images, see there.
        background: Whether the pixels with number 0 (for boolean masks: those in no region) are a region too.

    Raises:
        InputError: If a setting is of another kind; when called, if the file is missing, damaged, no mask, or has
            another aspect ratio than the image.
    """

    of_image: ClassVar[bool] = False

    def __init__(self, path: str, background: bool = False) -> None:
        if not isinstance(path, str | Path):
            raise InputError(f"path of the mask must be the path of a file, got {path!r:.80}")
        if not isinstance(background, bool):
            raise InputError(f"background must be true or false, got {background!r:.80}")
        self.path, self.background = path, background

    @override
    def in_words(self) -> str:
        return f"the mask file {self.path}"

    @override
    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        return self.numbered(image, image_id)[0]

    @override
    def numbered(self, image: Tensor, image_id: str) -> tuple[Tensor, list[int]]:
        """The regions with their numbers in the file, or for boolean masks their positions."""
        file = Path(self.path).expanduser()
        if not file.exists():
            raise InputError(f"mask file {self.path} does not exist; give the path of a PNG or .npy file")
        return mask_of(file, (image.shape[-2], image.shape[-1]), self.background)
