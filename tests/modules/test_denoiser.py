"""Training of denoisers: the loss, what validation says, and runs that resume."""

import functools
import math

import pytest
import torch
from lightning import Trainer
from torch import nn

from lit_certattr.data import NO_LABEL, Digits, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models import Normalize, SmallCNN, UNetDenoiser
from lit_certattr.modules import DenoiserTraining


def small() -> UNetDenoiser:
    return UNetDenoiser(channels=1, width=4, patch=1)


def trainer(tmp_path, **settings) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return Trainer(
        **quiet | {"accelerator": "cpu", "enable_progress_bar": False, "default_root_dir": tmp_path} | settings
    )


def validated(tmp_path, module, **data) -> dict[str, float]:
    (found,) = trainer(tmp_path).validate(module, Digits(**data), verbose=False)
    return found


class Constant(nn.Module):
    """Sees one class everywhere."""

    def __init__(self, seen: int) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, images):
        return (
            nn.functional.one_hot(torch.full((len(images),), self.seen), 10).float()
            + 0 * images.sum((1, 2, 3))[:, None]
        )


class Shifted(Digits):
    """Digits without labels."""

    def setup(self, stage):
        super().setup(stage)
        self.train_set, self.val_set, self.test_set = (
            samples.relabelled([NO_LABEL] * len(samples)) for samples in (self.train_set, self.val_set, self.test_set)
        )


def test_learns_to_denoise_digits(tmp_path):
    torch.manual_seed(0)
    module = DenoiserTraining(
        UNetDenoiser(channels=1, width=8, patch=1), (0.1, 0.4), optimizer=functools.partial(torch.optim.Adam, lr=0.005)
    )
    run = trainer(tmp_path, max_epochs=4)
    run.fit(module, datamodule=Digits(batch_size=32))
    assert run.callback_metrics["val/psnr"] > run.callback_metrics["val/noisy_psnr"] + 4


def test_psnr_is_that_of_the_definition_and_of_the_noise(tmp_path):
    """An untrained denoiser changes nothing: both are the PSNR of the noise, -20 log10(sigma) in expectation."""
    found = validated(tmp_path, DenoiserTraining(small(), val_sigma=0.2))
    assert set(found) == {"val/loss", "val/psnr", "val/noisy_psnr"}
    assert found["val/psnr"] == pytest.approx(-20 * math.log10(0.2), abs=0.2)
    assert found["val/psnr"] == pytest.approx(found["val/noisy_psnr"])
    assert found["val/psnr"] == pytest.approx(-10 * math.log10(found["val/loss"]), rel=1e-5)


def test_validation_does_not_depend_on_batches_or_on_the_epoch(tmp_path):
    denoiser = small()
    nn.init.normal_(denoiser.leave.weight, std=0.1)
    torch.manual_seed(0)
    module = DenoiserTraining(denoiser, network=SmallCNN(image_size=8, width=4))
    first = validated(tmp_path, module, batch_size=64)
    second = validated(tmp_path, module, batch_size=7)
    assert first == pytest.approx(second, rel=1e-5)
    assert first["val/noisy_accuracy"] == second["val/noisy_accuracy"]


def test_noisy_accuracy_counts_labels(tmp_path):
    data = Digits()
    data.setup("fit")
    for seen in (3, 7):
        found = validated(tmp_path, DenoiserTraining(small(), network=Constant(seen)))
        share = data.val_set.targets.count(seen) / len(data.val_set)
        assert found["val/noisy_accuracy"] == pytest.approx(share)
        assert found["val/noisy_accuracy_plain"] == pytest.approx(share)


def test_without_labels_the_class_is_what_the_network_sees_in_the_clean_image(tmp_path):
    module = DenoiserTraining(small(), network=Constant(3))
    (found,) = trainer(tmp_path).validate(module, Shifted(), verbose=False)
    assert found["val/noisy_accuracy"] == 1.0


def test_noisy_accuracy_is_that_of_the_denoised_copies_beside_that_of_the_noisy_ones(tmp_path):
    class Clean(nn.Module):
        """Gives the clean image, which the test knows."""

        def forward(self, images):
            return torch.zeros_like(images)

    class IsBlack(nn.Module):
        def forward(self, images):
            black = (images == 0).flatten(1).all(1)
            return torch.stack([~black, black], 1).float()

    class Black(Digits):
        def setup(self, stage):
            super().setup(stage)
            self.val_set = SampleSet(torch.zeros(9, 1, 8, 8), [NO_LABEL] * 9, [f"{index}" for index in range(9)])

    (found,) = trainer(tmp_path).validate(DenoiserTraining(Clean(), network=IsBlack()), Black(), verbose=False)
    assert found["val/noisy_accuracy"] == 1.0
    assert found["val/noisy_accuracy_plain"] == 0.0


def test_stability_trains_the_denoiser_alone_and_lowers_its_loss(tmp_path):
    torch.manual_seed(0)
    network = SmallCNN(image_size=8, width=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    module = DenoiserTraining(small(), network=network, stability=0.5)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=3, limit_val_batches=1)
    run.fit(module, datamodule=Shifted())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training
    assert run.callback_metrics["train/loss"] > run.callback_metrics["train/mse"]
    assert bool((module.denoiser.leave.weight != 0).any())


def test_stability_is_the_cross_entropy_with_the_prediction_on_the_clean_image(tmp_path):
    """A denoiser that returns black images: the loss does not depend on the noise."""

    class Black(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.zeros(()))

        def forward(self, images):
            return torch.zeros_like(images) + self.level

    torch.manual_seed(0)
    network = nn.Sequential(Normalize([0.3], [0.3]), nn.Flatten(), nn.Linear(64, 10))
    data = Shifted(batch_size=2000)
    run = trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    run.fit(DenoiserTraining(Black(), network=network, stability=2.0), datamodule=data)
    images = torch.stack([data.train_set[index].image for index in range(len(data.train_set))])
    with torch.no_grad():
        seen = network(images).argmax(1)
        expected = 2 * nn.functional.cross_entropy(network(torch.zeros_like(images)), seen) + images.square().mean()
    torch.testing.assert_close(run.callback_metrics["train/loss"], expected)


def test_sigma_of_each_image_lies_in_the_range_and_differs(tmp_path):
    class Measure(nn.Module):
        """Remembers the standard deviation of each input: the images are gray, so that is sigma."""

        def __init__(self):
            super().__init__()
            self.level, self.seen = nn.Parameter(torch.zeros(())), []

        def forward(self, images):
            self.seen.append(images.flatten(1).std(1).detach())
            return images + self.level

    class Gray(Digits):
        def setup(self, stage):
            self.train_set = SampleSet(torch.full((64, 1, 40, 40), 0.5), [NO_LABEL] * 64, [str(i) for i in range(64)])

    measure = Measure()
    trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(DenoiserTraining(measure, (0.1, 0.5)), Gray())
    (seen,) = measure.seen
    assert seen.min() > 0.09
    assert seen.max() < 0.55
    assert seen.min() < 0.2
    assert seen.max() > 0.4


def test_checkpoint_holds_the_denoiser_alone_and_plain_values(tmp_path):
    module = DenoiserTraining(small(), network=SmallCNN(image_size=8, width=4))
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=1)
    run.fit(module, datamodule=Digits())
    run.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert all(name.startswith("denoiser.") for name in content["state_dict"])
    again = DenoiserTraining.load_from_checkpoint(tmp_path / "a.ckpt", denoiser=small())
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(again.cpu()(images), module.cpu()(images))  # another memory layout
    loaded = UNetDenoiser(channels=1, width=4, patch=1, weights=str(tmp_path / "a.ckpt"))
    assert torch.equal(loaded(images), again(images))


class Half(nn.Module):
    def forward(self, images):
        return images[..., ::2]


class NotFinite(nn.Module):
    def forward(self, images):
        return images * torch.nan


@pytest.mark.parametrize(
    ("denoiser", "settings", "pattern"),
    [
        (Half(), {}, r"Half must return images of the shape that it gets, \[2, 1, 8, 8\], got \[2, 1, 8, 4\]"),
        (nn.Identity(), {"network": SmallCNN()}, r"SmallCNN takes images \(1, 28, 28\), .* \(1, 8, 8\): set size"),
        (nn.Identity(), {"network": nn.Identity()}, r"must return logits \[B, num_classes\]"),
        (nn.Identity(), {"network": SmallCNN(image_size=8, num_classes=5)}, r"5 logits, but there is a label 9"),
        (NotFinite(), {}, "NotFinite returns NaN or infinity for the training images"),
        (UNetDenoiser(width=4), {}, "this denoiser is for images"),
    ],
)
def test_what_does_not_fit_the_data_is_said_before_the_training(denoiser, settings, pattern):
    data = Digits()
    data.setup("fit")
    with pytest.raises(InputError, match=pattern):
        DenoiserTraining(denoiser, **settings).check(data)


def test_a_judge_that_is_no_better_than_chance_gets_a_warning_that_names_the_remedy():
    torch.manual_seed(0)
    data = Digits()
    data.setup("fit")
    with pytest.warns(
        UserWarning, match=r"SmallCNN judges the denoiser, but only \d+ of .*models\.load_network"
    ) as said:
        DenoiserTraining(small(), network=SmallCNN(image_size=8)).check(data)
    assert len(said) == 1


def test_a_network_for_other_sizes_may_judge_larger_validation_images():
    data = Digits()
    data.setup("fit")
    data.val_set = data.test_set = SampleSet(torch.rand(2, 1, 28, 28), [NO_LABEL] * 2, ["a", "b"])
    DenoiserTraining(small(), network=SmallCNN()).check(data)
    with pytest.raises(InputError, match="the training images are"):
        DenoiserTraining(small(), network=SmallCNN(), stability=1.0).check(data)


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({"sigma": (0.5, 0.1)}, "smallest and the largest"),
        ({"sigma": (0.1,)}, "smallest and the largest"),
        ({"sigma": (0.0, 0.0)}, "smallest and the largest"),
        ({"sigma": (12.5, 50.0)}, r"sigma is the noise of pixels in \[0, 1\], .*: divide grey levels by 255"),
        ({"sigma": (-0.1, 0.1)}, "smallest and the largest"),
        ({"sigma": (0.1, math.inf)}, "smallest and the largest"),
        ({"sigma": (math.nan, 0.1)}, "smallest and the largest"),
        ({"sigma": 0.25}, "sigma must be a list"),
        ({"stability": 1.0}, "set network too"),
        ({"stability": -1.0}, "stability must be a number of 0 or more"),
        ({"val_sigma": 0.0}, "val_sigma must be positive"),
        ({"val_sigma": math.nan}, "val_sigma must be positive"),
        ({"network": SmallCNN}, "network must be a Module"),
        ({"denoiser": "unet"}, "denoiser must be a Module"),
    ],
)
def test_settings_out_of_range(settings, pattern):
    with pytest.raises(InputError, match=pattern):
        DenoiserTraining(**{"denoiser": small()} | settings)
