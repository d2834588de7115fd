"""The LightningModule that trains a denoiser."""

import math
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.image import PeakSignalNoiseRatio
from typing_extensions import override

from lit_certattr.data import NO_LABEL, ImageDataModule, Sample, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models.denoised import denoise
from lit_certattr.modules.training import TrainingModule
from lit_certattr.modules.training_checks import check_loss, check_targets_fit, check_weights
from lit_certattr.preflight import accuracy_warning, check_logits
from lit_certattr.settings import instance, real_number, several
from lit_certattr.smoothing import normal_stream

_LARGEST_SIGMA = 10.0
"""Noise in which nothing of an image is left."""


class DenoiserTraining(TrainingModule):
    r"""Trains a denoiser :math:`D` for Gaussian noise, on images alone: labels are not needed.

    The loss is the mean squared error between :math:`D(x + \sigma Z)` and :math:`x`, with a :math:`\sigma` that is
    drawn for each image, uniformly from a range. The denoiser is not told its value, so one denoiser serves the whole
    range. With ``stability`` :math:`\lambda > 0`, the loss of a given network :math:`f` is added,

    .. math:: \lambda \, \mathrm{CE}\bigl(f(D(x + \sigma Z)),\; \arg\max f(x)\bigr),

    which helps this network and may help others less.

    Logs ``train/loss`` and ``train/mse``. In validation and test (``val/...``, ``test/...``) every image gets one noisy
    copy at ``val_sigma``, whose noise depends on the id of the image only: ``loss`` (mean squared error), ``psnr`` of
    the denoised copies and ``noisy_psnr`` of the noisy ones, in dB, over all pixels together; and with a network,
    ``noisy_accuracy``, the share of denoised copies in which it sees the class, and ``noisy_accuracy_plain``, the share
    of noisy copies. The class is the label, or what the network sees in the clean image if that has no label.

    Training stops, resumes and checks as described at :class:`~lit_certattr.modules.TrainingModule`. Checkpoints hold
    the weights of the denoiser, and not those of the network.

    Args:
        denoiser: Module from images ``[B, C, H, W]`` to images of the same shape.
        sigma: Smallest and largest standard deviation of the noise, for images in [0, 1].
        network: Classifier from images in [0, 1] to logits that judges the denoiser; it is frozen and set to eval mode.
            ``None``: PSNR alone.
        stability: Weight of the loss of the network.
        val_sigma: Standard deviation of the noise in validation and test.
        optimizer: Creates the optimizer from the parameters of the denoiser.
        scheduler: Creates the learning-rate scheduler from the optimizer; it steps once per epoch.

    Raises:
        InputError: If an argument is of another kind or out of range, or there is ``stability`` without a network.

    Example:
        >>> from lit_certattr.models import UNetDenoiser
        >>> module = DenoiserTraining(UNetDenoiser(channels=1, width=4, patch=1), sigma=(0.1, 0.5))
        >>> module(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])

    Reference: Salman, Sun, Yang, Kapoor and Kolter, "Denoised Smoothing" (NeurIPS 2020), section 3: both
    losses; blind to the noise level: Zhang et al., "Beyond a Gaussian Denoiser" (2017).
    """

    def __init__(
        self,
        denoiser: nn.Module,
        sigma: tuple[float, float] = (0.05, 0.5),
        network: nn.Module | None = None,
        stability: float = 0.0,
        val_sigma: float = 0.25,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        instance("denoiser", denoiser, nn.Module, "UNetDenoiser()")
        values = [real_number("sigma", value) for value in several("sigma", sigma, "[0.05, 0.5]")]
        if len(values) != 2 or not 0 <= values[0] <= values[1] < math.inf or not values[1] > 0:
            raise InputError(
                f"sigma must be the smallest and the largest standard deviation, e.g. [0.05, 0.5], got {list(values)}"
            )
        if values[1] > _LARGEST_SIGMA:
            raise InputError(
                f"sigma is the noise of pixels in [0, 1], and at most {_LARGEST_SIGMA:g}, got {list(values)}: divide "
                "grey levels by 255"
            )
        if not 0 <= real_number("stability", stability) < math.inf:
            raise InputError(f"stability must be a number of 0 or more, got {stability}")
        if not 0 < real_number("val_sigma", val_sigma) < math.inf:
            raise InputError(f"val_sigma must be positive, got {val_sigma}")
        if network is not None:
            instance("network", network, nn.Module, "EfficientNetLite0()")
            network.eval().requires_grad_(False)
        elif stability:
            raise InputError("stability is the weight of the loss of a network: set network too, or stability to 0")
        self.denoiser = denoiser
        self.sigma, self.stability, self.val_sigma = (values[0], values[1]), stability, val_sigma
        # Not a submodule: train() does not reach it, and its weights are in no checkpoint.
        object.__setattr__(self, "network", network)
        self.network: nn.Module | None
        for stage in ("val", "test"):
            self.add_module(f"{stage}_psnr", PeakSignalNoiseRatio(data_range=1.0))
            self.add_module(f"{stage}_noisy_psnr", PeakSignalNoiseRatio(data_range=1.0))
            if network is not None:
                self.add_module(f"{stage}_noisy_accuracy", MeanMetric())
                self.add_module(f"{stage}_noisy_accuracy_plain", MeanMetric())

    @property
    @override
    def trained(self) -> nn.Module:
        return self.denoiser

    def forward(self, images: Tensor) -> Tensor:
        """Denoise images ``[B, C, H, W]``.

        Raises:
            InputError: If the denoiser returns something of another shape, or numbers of another kind.
        """
        return denoise(self.denoiser, images)

    @override
    def check(self, data: ImageDataModule) -> None:
        for kind, samples in (("training", data.train_set), ("validation", data.val_set), ("test", data.test_set)):
            if samples is None:
                continue
            if not len(samples):
                raise InputError(f"{type(data).__name__} has no {kind} images: the set is empty")
            with torch.random.fork_rng(devices=[]):  # reading may augment
                images = torch.stack([samples[index].image for index in range(min(2, len(samples)))])
            self._check_images(images, f"the {kind} images", judged=kind != "training" or self.stability > 0)
            if self.network is not None and kind != "training":
                self._check_labels(samples, images)
            if kind == "validation":
                self._warn_of_chance(samples)

    def _warn_of_chance(self, samples: SampleSet) -> None:
        if self.network is not None and (words := accuracy_warning(self.network, samples)) is not None:
            rank_zero_warn(
                f"{type(self.network).__name__} judges the denoiser, but {words}. If it has no weights yet, name the "
                "trained one, e.g. --model.network lit_certattr.models.load_network "
                "--model.network.init_args.path runs/digits/checkpoints/best.ckpt"
            )

    def _check_images(self, images: Tensor, name: str, judged: bool) -> None:
        training = self.denoiser.training
        self.denoiser.eval()
        with torch.no_grad():
            denoised = self(images)
        self.denoiser.train(training)
        if not bool(torch.isfinite(denoised).all()):
            raise InputError(f"{type(self.denoiser).__name__} returns NaN or infinity for {name}: check its weights")
        if self.network is None or not judged:
            return
        size = getattr(self.network, "input_size", None)
        if size is not None and tuple(size) != tuple(images.shape[1:]):
            raise InputError(
                f"{type(self.network).__name__} takes images {tuple(size)}, but {name} are {tuple(images.shape[1:])}: "
                f"set size of the data (val_size of ImagePatches) to {size[-1]}, or leave out network"
            )
        with torch.no_grad():
            self._logits(denoised, name)

    def _check_labels(self, samples: SampleSet, images: Tensor) -> None:
        labels = torch.tensor([label for label in samples.targets if label != NO_LABEL])
        if self.network is not None and len(labels):
            with torch.no_grad():
                num_logits = self._logits(images, "the images").shape[1]
            check_targets_fit(self.network, labels, num_logits)

    def setup(self, stage: str) -> None:
        """Convert the weights to the memory layout in which convolutions are fast.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
        """
        self.denoiser.to(memory_format=torch.channels_last)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """The loss for one noisy copy of each image.

        Raises:
            InputError: If the denoiser returns images of another shape, or the loss is NaN or infinite.
        """
        images = batch.image
        low, high = self.sigma
        sigma = low + (high - low) * torch.rand(len(images), 1, 1, 1, device=images.device)
        denoised = self(images + (sigma * torch.randn(images.shape, device=images.device)).to(images.dtype))
        mse = functional.mse_loss(denoised, images)
        loss = mse
        if self.stability > 0:
            with torch.no_grad():
                seen = self._logits(images, "the training images").argmax(1)
            loss = mse + self.stability * functional.cross_entropy(self._logits(denoised, "the denoised images"), seen)
        check_loss(loss, self.denoiser, self.trainer, batch_idx)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(images))
        self.log("train/mse", mse, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """PSNR, and the accuracy of the network, at one noisy copy of each image."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Sample, batch_idx: int) -> None:
        """PSNR, and the accuracy of the network, at one noisy copy of each image."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Denoised images ``[B, C, H, W]``."""
        return self(batch.image)  # type: ignore[no-any-return]

    def _evaluate(self, batch: Sample, stage: str) -> None:
        images = batch.image
        noise = torch.stack([_normals(str(name), image) for name, image in zip(batch.id, images, strict=True)])
        noisy = images + (self.val_sigma * noise.to(images.device)).to(images.dtype)
        denoised = self(noisy)
        if not bool(torch.isfinite(denoised).all()):
            check_weights(self.denoiser, self.trainer)
            raise InputError(
                f"{type(self.denoiser).__name__} returns NaN or infinity for {stage} images: use a higher precision "
                "(--trainer.precision=32-true)"
            )
        self._log(f"{stage}/loss", functional.mse_loss(denoised.float(), images.float()), len(images))
        for name, value in (("psnr", denoised), ("noisy_psnr", noisy)):
            metric = getattr(self, f"{stage}_{name}")
            metric.update(value.float(), images.float())
            self._log(f"{stage}/{name}", metric, len(images))
        if self.network is None:
            return
        targets = torch.as_tensor(batch.target)
        targets = torch.where(targets == NO_LABEL, self._logits(images, f"the {stage} images").argmax(1), targets)
        for name, value in (("noisy_accuracy", denoised), ("noisy_accuracy_plain", noisy)):
            metric = getattr(self, f"{stage}_{name}")
            metric.update((self._logits(value, f"the noisy {stage} images").argmax(1) == targets).float())
            self._log(f"{stage}/{name}", metric, len(images))

    def _log(self, name: str, value: Any, size: int) -> None:
        self.log(name, value, prog_bar=True, batch_size=size, sync_dist=isinstance(value, Tensor))

    def _logits(self, images: Tensor, name: str) -> Tensor:
        """Logits of the network, which follows the images to their device."""
        assert self.network is not None
        first = next(self.network.parameters(), None)
        if first is not None and first.device != images.device:
            self.network.to(images.device)
        return check_logits(self.network(images.float()), self.network, len(images), name)


def _normals(image_id: str, image: Tensor) -> Tensor:
    """Standard normals in the shape of an image; the same in every epoch, and others than a certificate's."""
    normals = normal_stream(0, f"\x00DenoiserTraining {image_id}", "cpu")
    return normals.fill_(torch.empty(1, image.numel()), start=0).view(image.shape)
