"""The certification callback inside real Trainers."""

import copy
import csv
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.callbacks import CertificationCallback, MetricGate
from lit_certattr.callbacks.network import network_of
from lit_certattr.callbacks.selection import Selection, recorded_selections
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    PercentileCertificate,
    PixelCertificate,
    PredictionCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.certification import Certifier
from lit_certattr.data import SampleSet, collate
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional import certified_fraction, certified_one_share, certified_overlap
from lit_certattr.models import Denoised
from lit_certattr.modules import RobustClassifier
from lit_certattr.numbers import Box, EnergyInside
from lit_certattr.objectives import CrossEntropy
from lit_certattr.regions import Superpixels
from lit_certattr.smoothing import GaussianNoise

MONITOR = "certified/one_share_k25_r0_10"
LEFT = Box(0, 0, 1, 0.5)


class Net(nn.Sequential):
    """With batch statistics and dropout, so that a wrong mode would show."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Softplus(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(4 * 6 * 6, 3),
        )


def samples(count: int = 6, seed: int = 0) -> SampleSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 6, 6, generator=generator)
    return SampleSet(images, [i % 3 for i in range(count)], [f"s{seed}-{i}" for i in range(count)])


def loader(count: int = 6, seed: int = 0) -> DataLoader:
    return DataLoader(samples(count, seed), batch_size=3, collate_fn=collate)


def certifier(num_samples: int = 120, **kwargs) -> Certifier:
    certificates = [PixelCertificate(top_k=(0.5, 0.25), alpha=0.05), TopKOverlapCertificate(top_k=0.25, alpha=0.05)]
    return Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples, batch_size=50, **kwargs)


def module(seed: int = 1) -> RobustClassifier:
    torch.manual_seed(seed)
    return RobustClassifier(Net(), CrossEntropy())


def trainer(tmp_path: Path, *callbacks: Callback, **kwargs) -> Trainer:
    settings = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "enable_progress_bar": any(isinstance(c, RichProgressBar | TQDMProgressBar) for c in callbacks),
        "enable_model_summary": False,
        "accelerator": "cpu",
        "log_every_n_steps": 1,
        "default_root_dir": tmp_path,
        "callbacks": list(callbacks),
        "num_sanity_val_steps": 0,
    }
    return Trainer(**(settings | kwargs))


def by_hand(net: nn.Module, count: int) -> dict[str, float]:
    """The metrics from a plain call of the certifier."""
    found = []
    for image, _, name in (samples()[i] for i in range(count)):
        found += certifier()(net, image.unsqueeze(0), ids=[name])
    pixel, overlap = [r["pixel"] for r in found], [r["topk_overlap"] for r in found]
    return {
        MONITOR: float(certified_one_share(pixel, 0.1, 1)),
        "certified/fraction_k50_r0_05": float(certified_fraction(pixel, 0.05, 0)),
        "certified/null_k25_r0_10": float(certified_fraction(pixel, 0.1, 1, "null")),
        "certified/overlap_k25_r0_05": float(certified_overlap(overlap, 0.05)),
    }


@pytest.mark.parametrize("inference_mode", [True, False])
def test_inside_fit(tmp_path, inference_mode):
    model, callback = module(), CertificationCallback(certifier(), num_images=4, radii=(0.05, 0.1))
    run = trainer(tmp_path, callback, inference_mode=inference_mode)
    run.fit(model, loader(), loader())
    logged = {key: float(value) for key, value in run.callback_metrics.items() if key.startswith("certified/")}
    assert logged == pytest.approx(logged | by_hand(model.net, 4), abs=1e-6)
    assert 0 < logged[MONITOR] < 1
    assert len(logged) == 2 * (1 + 2 * 3) + 2 + 1  # the last: the noisy accuracy
    assert not any("." in name for name in logged)


@pytest.mark.parametrize("inference_mode", [True, False])
def test_inside_validate(tmp_path, inference_mode):
    model, callback = module(), CertificationCallback(certifier(), num_images=4)
    run = trainer(tmp_path, callback, inference_mode=inference_mode)
    for _ in range(2):
        (values,) = run.validate(model, loader(), verbose=False)
        assert values == pytest.approx(values | by_hand(model.net, 4), abs=1e-6)


def test_a_plain_module_and_a_plain_data_set(tmp_path):
    class Plain(LightningModule):
        def __init__(self):
            super().__init__()
            self.body = Net()

        def forward(self, images):
            return self.body(images)

        def validation_step(self, batch, batch_idx):
            self(batch[0])

    images = torch.stack([samples()[i].image for i in range(4)])
    data = DataLoader(TensorDataset(images, torch.arange(4) % 3), batch_size=2)
    run = trainer(tmp_path, CertificationCallback(certifier(), num_images=3, targets="label"))
    (values,) = run.validate(Plain(), data, verbose=False)
    assert MONITOR in values


def test_images_come_from_several_loaders_in_order_and_once(tmp_path):
    seen = []

    class Spy(Certifier):
        def __call__(self, model, images, targets=None, ids=None, on_block=None):
            seen.extend(ids)
            return super().__call__(model, images, targets, ids, on_block)

    class TwoLoaders(RobustClassifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self(batch.image)

    spy = Spy(Gradient(), GaussianNoise(0.25), [PixelCertificate(top_k=[0.5], alpha=0.05)], num_samples=60)
    run = trainer(tmp_path, CertificationCallback(spy, num_images=5))
    run.validate(TwoLoaders(Net(), CrossEntropy()), [loader(3, seed=0), loader(4, seed=1)], verbose=False)
    assert seen == ["s0-0", "s0-1", "s0-2", "s1-0", "s1-1"]


def everything(model: RobustClassifier) -> dict:
    """What training could notice."""
    return copy.deepcopy(
        {
            "torch": torch.get_rng_state().tolist(),
            "python": random.getstate(),
            "numpy": str(np.random.get_state()),  # noqa: NPY002
            "modes": [m.training for m in model.modules()],
            "flags": [p.requires_grad for p in model.parameters()],
            "grads": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            "state": {key: value.tolist() for key, value in model.net.state_dict().items()},
        }
    )


def draw() -> None:
    """Draw from every generator."""
    torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002


class Augmented(SampleSet):
    def __getitem__(self, index):
        draw()
        return super().__getitem__(index)


class Random(Gradient):
    def __call__(self, model, images, targets, create_graph=False):
        draw()
        return super().__call__(model, images, targets, create_graph)


class Snapshots(CertificationCallback):
    """Compares everything before and after each of its own hooks."""

    compared = 0

    def on_train_start(self, trainer, pl_module):
        self.compare(super().on_train_start, trainer, pl_module)

    def on_validation_epoch_end(self, trainer, pl_module):
        self.compare(super().on_validation_epoch_end, trainer, pl_module)

    def compare(self, hook, trainer, pl_module):
        before = everything(pl_module)
        hook(trainer, pl_module)
        assert everything(pl_module) == before
        self.compared += 1


def test_training_notices_nothing(tmp_path):
    model = module()
    model.net[0].bias.requires_grad_(False)
    settled = [PixelCertificate(top_k=[0.5], alpha=0.05)]
    callback = Snapshots(Certifier(Random(), GaussianNoise(0.25), settled, 60), num_images=4)
    data = DataLoader(Augmented(torch.rand(4, 1, 6, 6), [0, 1, 2, 0], list("abcd")), batch_size=2, collate_fn=collate)
    run = trainer(tmp_path, callback, max_epochs=2)
    run.fit(model, loader(), data)
    assert callback.compared == 3


def test_training_ends_with_the_same_weights_as_without(tmp_path):
    def weights(*callbacks):
        model = module()
        torch.manual_seed(7)
        shuffled = DataLoader(samples(), batch_size=3, collate_fn=collate, shuffle=True)
        trainer(tmp_path, *callbacks, max_epochs=3).fit(model, shuffled, loader())
        return model.state_dict()

    plain, certified = weights(), weights(CertificationCallback(certifier(), num_images=2))
    assert all(torch.equal(plain[key], certified[key]) for key in plain)


def test_nothing_piles_up(tmp_path):
    import gc

    def tensors():
        gc.collect()
        return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())

    counts = []

    class Count(Callback):
        def on_validation_end(self, trainer, pl_module):
            counts.append(tensors())

    run = trainer(tmp_path, CertificationCallback(certifier(60), num_images=2), Count(), max_epochs=6)
    run.fit(module(), loader(), loader())
    assert len(set(counts[1:])) == 1


def test_checkpoint_and_early_stopping_monitor_a_certified_metric(tmp_path):
    seen = []

    class Record(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append(float(trainer.callback_metrics[MONITOR]))

    checkpoint = ModelCheckpoint(
        tmp_path / "checkpoints",
        filename=f"{{epoch}}-{{{MONITOR}:.3f}}",
        auto_insert_metric_name=False,
        monitor=MONITOR,
        mode="max",
        save_top_k=1,
    )
    stopping = EarlyStopping(MONITOR, mode="max", patience=10)
    callback = CertificationCallback(certifier(), num_images=3)
    run = trainer(tmp_path, callback, Record(), checkpoint, stopping, max_epochs=3)
    model = module()
    run.fit(model, loader(), loader())
    best = max(seen)
    assert float(checkpoint.best_model_score) == best
    assert float(stopping.best_score) == best
    assert Path(checkpoint.best_model_path).name == f"{seen.index(best)}-{best:.3f}.ckpt"
    # The score belongs to the weights in the file.
    state = torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"]
    model.load_state_dict(state)
    assert by_hand(model.net, 3)[MONITOR] == pytest.approx(best, abs=1e-6)


def test_every_n_epochs_skips_and_sanity_checking_certifies_nothing(tmp_path):
    epochs = []

    class Spy(CertificationCallback):
        def _certify(self, trainer, pl_module):
            epochs.append((trainer.sanity_checking, trainer.current_epoch))
            return super()._certify(trainer, pl_module)

    # A monitor sees the last values in the epochs between.
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", monitor=MONITOR, mode="max", save_top_k=-1)
    callback = Spy(certifier(60), 2, every_n_epochs=2)
    run = trainer(tmp_path, callback, checkpoint, max_epochs=4, num_sanity_val_steps=1)
    run.fit(module(), loader(), loader())
    assert epochs == [(False, 0), (False, 2)]
    assert len(checkpoint.best_k_models) == 4


def test_named_certificates_keep_their_names(tmp_path):
    named = {"coarse": PixelCertificate(top_k=[0.5], alpha=0.05), "fine": PixelCertificate(top_k=[0.25], alpha=0.05)}
    callback = CertificationCallback(Certifier(Gradient(), GaussianNoise(0.25), named, 60), num_images=1, radii=[0.1])
    (values,) = trainer(tmp_path, callback).validate(module(), loader(), verbose=False)
    assert {"certified/coarse_fraction_k50_r0_10", "certified/fine_fraction_k25_r0_10"} <= set(values)


def test_csv_logger_gets_the_numbers_and_no_pictures(tmp_path):
    run = trainer(tmp_path, CertificationCallback(certifier(60), 2), logger=CSVLogger(tmp_path), max_epochs=2)
    run.fit(module(), loader(), loader())
    with Path(run.logger.log_dir, "metrics.csv").open() as file:
        values = [row[MONITOR] for row in csv.DictReader(file) if row[MONITOR]]
    assert len(values) == 2


@pytest.mark.figures
def test_tensorboard_gets_panels(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    pictures = []
    logger.experiment.add_image = lambda tag, image, step, dataformats: pictures.append((tag, image.shape, step))
    run = trainer(tmp_path, CertificationCallback(certifier(60), 3, num_panels=2), logger=logger)
    run.fit(module(), loader(), loader())
    assert [tag for tag, _, _ in pictures] == ["certified/panels/s0-0", "certified/panels/s0-1"]
    assert all(shape[2] == 3 and min(shape[:2]) > 100 and step == 2 for _, shape, step in pictures)


@pytest.mark.parametrize("bar", [RichProgressBar(console_kwargs={"force_terminal": True}), TQDMProgressBar()])
def test_progress_is_shown_beside_the_trainers_own(tmp_path, bar, capsys):
    run = trainer(tmp_path, CertificationCallback(certifier(60), 2), bar)
    run.fit(module(), loader(), loader())
    captured = capsys.readouterr()
    assert "Certification" in captured.out + captured.err


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precision_of_the_trainer(tmp_path, precision):
    recorded = []

    class Spy(CertificationCallback):
        def _certify(self, trainer, pl_module):
            certified = super()._certify(trainer, pl_module)
            recorded.extend(results["pixel"].sampling["precision"] for _, results in certified)
            return certified

    run = trainer(tmp_path, Spy(certifier(60), 1), precision=precision)
    run.fit(module(), loader(), loader())
    expected = {"bf16-mixed": "float32, autocast bfloat16", "bf16-true": "bfloat16", "64-true": "float64"}[precision]
    assert recorded == [expected]
    assert run.callback_metrics[MONITOR].isfinite()


def test_fast_dev_run_certifies_one_image(tmp_path):
    run = trainer(tmp_path, CertificationCallback(certifier(60), 4), fast_dev_run=True)
    run.fit(module(), loader(), loader())
    assert MONITOR in run.callback_metrics


def test_too_few_samples_are_refused_before_training(tmp_path):
    steps = []

    class Steps(Callback):
        def on_train_batch_start(self, *args):
            steps.append(1)

    run = trainer(tmp_path, CertificationCallback(certifier(5), 2), Steps())
    with pytest.raises(InputError, match=r"num_samples=5 certifies nothing.* at least \d+") as caught:
        run.fit(module(), loader(), loader())
    assert not steps
    assert "\n" not in str(caught.value)
    needed = max(c.smallest_num_samples(36) for c in certifier().certificates.values())
    assert str(needed) in str(caught.value)
    with pytest.raises(InputError, match="num_samples=5"):
        run.validate(module(), loader(), verbose=False)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, x: net(x.sub_(0.1)), "changes its input in place"),
        (lambda net, x: net(nn.functional.dropout(x, 0.5)), "another result for the same image each time"),
        (lambda net, x: net(x - x.mean()), "depends on the other images of the batch"),
        (lambda net, x: (net(x), x), r"got tuple of 2: wrap it in a module"),
    ],
)
def test_a_network_that_cannot_be_certified_is_refused_before_training(tmp_path, forward, message):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Net()

        def forward(self, images):
            return forward(self.inner, images)

    data = loader()
    before = [sample.image.clone() for sample in data.dataset]
    model = RobustClassifier(Own(), CrossEntropy())
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, CertificationCallback(certifier())).fit(model, loader(), data)
    assert model.global_step == 0
    assert all(torch.equal(image, sample.image) for image, sample in zip(before, data.dataset, strict=True))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([samples()[0]])


@pytest.mark.parametrize(
    ("data", "targets", "message"),
    [
        (DataLoader(Stream(), collate_fn=collate), "predicted", "an order and a length, got Stream"),
        (DataLoader(torch.rand(2, 1, 6, 6)), "predicted", "samples, got Tensor"),
        (
            DataLoader(TensorDataset(torch.zeros(1, 1, 6, 6, dtype=torch.uint8), torch.zeros(1))),
            "predicted",
            r"validation image 0 must be a float tensor \[C, H, W\], got torch.uint8",
        ),
        (
            DataLoader(SampleSet(torch.rand(1, 1, 6, 6), [-1], ["x"]), collate_fn=collate),
            "label",
            "image x has no label; use targets: predicted",
        ),
    ],
)
def test_unusable_data_is_named(tmp_path, data, targets, message):
    class Blind(RobustClassifier):
        def validation_step(self, batch, batch_idx):
            pass

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch

    run = trainer(tmp_path, CertificationCallback(certifier(60), 1, targets=targets))
    with pytest.raises(InputError, match=message):
        run.validate(Blind(Net(), CrossEntropy()), data, verbose=False)


# Choosing by what is certified.


def chosen(tmp_path, epochs, *more, ckpt_path=None, **settings):
    callback = CertificationCallback(certifier(seed=3), num_images=2, radii=(0.05, 0.1), **settings)
    best = ModelCheckpoint(tmp_path / "kept", "best", monitor=MONITOR, mode="max", save_last=True)
    run = trainer(tmp_path, callback, best, *more, logger=CSVLogger(tmp_path, ""), max_epochs=epochs)
    run.fit(module(), loader(), loader(), ckpt_path=ckpt_path)
    with (Path(run.logger.log_dir) / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return [float(row["certified/alpha_after_selection"]) for row in rows if row["certified/alpha_after_selection"]]


@pytest.mark.slow
def test_what_a_choice_among_all_networks_so_far_costs_is_logged_beside_the_metrics(tmp_path, caplog):
    caplog.set_level("INFO")
    assert chosen(tmp_path, 3) == pytest.approx([0.1, 0.2, 0.3])  # two certificates of .05
    said = [record.message for record in caplog.records if "E times alpha" in record.message]
    assert len(said) == 1
    assert said[0].startswith(f"{MONITOR}: the best of E checkpoints")
    assert "another seed than 3" in said[0]


def test_nothing_is_said_of_a_choice_where_none_is_made(tmp_path, caplog):
    caplog.set_level("INFO")
    run = trainer(tmp_path, CertificationCallback(certifier(), num_images=1), EarlyStopping("val/loss"))
    run.fit(module(), loader(), loader())
    assert not [record for record in caplog.records if "E times alpha" in record.message]


@pytest.mark.filterwarnings("ignore:no epoch has passed the gate")
def test_a_checkpoint_records_how_it_may_have_been_chosen(tmp_path):
    gate = MetricGate(MONITOR, at_least=2.0, gate="val/accuracy", name="accurate")
    stopping = EarlyStopping("accurate", mode="max", patience=9)
    chosen(tmp_path, 2, gate, stopping)
    (selection,) = recorded_selections(tmp_path / "kept/last.ckpt")
    assert selection._replace(looks=2) == Selection(("accurate", MONITOR), 2, 0.1, 3, ("s0-0", "s0-1"))
    state = torch.load(tmp_path / "kept/last.ckpt", weights_only=True)
    assert selection.looks == state["epoch"] + 1


@pytest.mark.slow
def test_a_resumed_training_goes_on_counting(tmp_path):
    chosen(tmp_path, 2)
    (selection,) = recorded_selections(tmp_path / "kept/last.ckpt")
    with pytest.warns(UserWarning, match="exists and is not empty"):
        values = chosen(tmp_path, 3, ckpt_path=tmp_path / "kept/last.ckpt")
    assert values == pytest.approx([0.1 * looks for looks in range(selection.looks + 1, 4)])


@pytest.mark.parametrize(
    "record", [None, 7, [None], [{}], [{"monitors": "x", "looks": 1, "alpha": 0.1, "seed": 0, "ids": []}], {"a": 1}]
)
def test_a_record_that_is_none_of_ours_is_passed_over(tmp_path, record):
    torch.save({"state_dict": {"w": torch.ones(1)}, "certified_selection": record}, tmp_path / "odd.ckpt")
    assert recorded_selections(tmp_path / "odd.ckpt") == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_images": 0}, "num_images"),
        ({"every_n_epochs": 0}, "every_n_epochs"),
        ({"num_panels": 17}, "num_panels must lie in 0 to 16"),
        ({"targets": "truth"}, "targets must be one of predicted, label"),
        ({"radii": []}, "radii"),
        ({"radii": [-1.0]}, "radii must be different numbers, finite, none negative"),
    ],
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        CertificationCallback(certifier(), **settings)


def test_a_certificate_that_adds_the_votes_of_different_images_is_refused():
    synced = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate(sync_on_compute=True)])
    with pytest.raises(InputError, match="sync_on_compute=True"):
        CertificationCallback(synced)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_modules_device_with_its_random_state_kept(tmp_path):
    devices, states = [], []

    class Spy(CertificationCallback):
        def on_validation_epoch_end(self, trainer, pl_module):
            states.append(torch.cuda.get_rng_state())
            super().on_validation_epoch_end(trainer, pl_module)
            states.append(torch.cuda.get_rng_state())

        def _certify(self, trainer, pl_module):
            certified = super()._certify(trainer, pl_module)
            devices.extend(results["pixel"].sampling["device"] for _, results in certified)
            return certified

    run = trainer(tmp_path, Spy(certifier(), 2), accelerator="gpu", devices=1)
    run.fit(module(), loader(), loader())
    assert devices == ["cuda", "cuda"]
    assert torch.equal(*states)


def test_a_low_noisy_accuracy_is_logged_and_warned_of_once(tmp_path, caplog):
    noisy = Certifier(Gradient(), GaussianNoise(50.0), [PixelCertificate([0.5], alpha=0.05)], 100, batch_size=50)
    callback = CertificationCallback(noisy, num_images=6)
    model, run = module(), trainer(tmp_path, callback, max_epochs=3)
    run.fit(model, loader(12, 1), loader(6))
    images = samples(6).images
    results = [one["pixel"] for one in noisy(model.net, images, ids=samples(6).ids)]
    share = sum(result.num_predicted for result in results) / 600
    assert float(run.callback_metrics["certified/noisy_accuracy"]) == pytest.approx(share, abs=1e-6)
    assert min(result.noisy_accuracy for result in results) < 0.5
    lines = [record.getMessage() for record in caplog.records if "noisy accuracy" in record.getMessage()]
    assert len(lines) == 1
    assert "use a smaller sigma" in lines[0]


class HalfWay(nn.Module):
    """Brings every pixel half-way to the mean of its image."""

    def forward(self, images):
        return (images + images.mean((2, 3), keepdim=True)) / 2


@pytest.mark.parametrize(("denoiser", "warnings"), [(nn.Identity(), 1), (HalfWay(), 0)], ids=["identity", "half-way"])
def test_a_denoiser_that_removes_no_noise_is_warned_of_once(tmp_path, caplog, denoiser, warnings):
    model = RobustClassifier(Denoised(denoiser, Net()), CrossEntropy())
    noisy = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5], alpha=0.05)], 60, batch_size=60)
    trainer(tmp_path, CertificationCallback(noisy, num_images=2), max_epochs=2).fit(model, loader(), loader(6))
    lines = [record.getMessage() for record in caplog.records if "removes no noise" in record.getMessage()]
    assert len(lines) == warnings
    assert all(line.startswith("Identity removes no noise of sigma = 0.25: denoised copies have") for line in lines)


def test_a_checkpoint_is_selected_by_the_lower_end_of_the_share_of_a_claim(tmp_path):
    claim = Claim("not all in the left half", EnergyInside(Box(0, 0, 1, 0.5)), at_most=0.9)
    claims = Certifier(Gradient(), GaussianNoise(0.25), [ClaimCertificate([claim])], 60, batch_size=60)
    name = "certified/claim_not_all_in_the_left_half"
    saver = ModelCheckpoint(tmp_path, monitor=f"{name}_r0_10_low", mode="max")
    run = trainer(tmp_path, CertificationCallback(claims, num_images=4, radii=(0.1,)), saver)
    run.fit(module(), loader(), loader())
    logged = {key: float(value) for key, value in run.callback_metrics.items() if key.startswith(name)}
    share = logged[f"{name}_r0_10"]
    assert share * 4 == round(share * 4)
    assert logged[f"{name}_r0_10_low"] <= share <= logged[f"{name}_r0_10_high"]
    assert sum(logged[f"{name}_{verdict}"] for verdict in ("holds", "not_shown", "refuted")) == 4
    assert float(saver.best_model_score) == logged[f"{name}_r0_10_low"]


def test_two_certificates_with_a_claim_of_one_name_do_not_share_its_metrics(tmp_path):
    certificates = [
        ClaimCertificate([Claim("left", EnergyInside(LEFT), at_least=0.05)], alpha=0.05),
        PercentileCertificate([Claim("left", EnergyInside(LEFT), at_least=0.99)], alpha=0.05),
    ]
    both = Certifier(Gradient(), GaussianNoise(0.25), certificates, 100, batch_size=50)
    run = trainer(tmp_path, CertificationCallback(both, num_images=4, radii=(0.1,)))
    (values,) = run.validate(module(), loader(), verbose=False)
    for name in ("claim_left", "percentiles_claim_left"):
        assert sum(values[f"certified/{name}_{verdict}"] for verdict in ("holds", "not_shown", "refuted")) == 4
    assert values["certified/claim_left_holds"] == 4
    assert values["certified/percentiles_claim_left_refuted"] == 4


def test_regions_and_the_prediction_are_certified_in_validation(tmp_path):
    certificates = [PixelCertificate([0.5], alpha=0.05), PredictionCertificate(alpha=0.05)]
    regions = Certifier(RegionMap(Gradient(), Superpixels(9)), GaussianNoise(0.25), certificates, 100, batch_size=50)
    run = trainer(tmp_path, CertificationCallback(regions, num_images=3, radii=(0.1,)))
    (values,) = run.validate(module(), loader(), verbose=False)
    assert values["certified/one_share_k50_r0_10"] > 0
    assert values["certified/prediction_share_r0_10"] <= values["certified/noisy_accuracy"]
    assert values["certified/prediction_r0_10"] * 3 == round(values["certified/prediction_r0_10"] * 3)


def test_the_noisy_majority_may_be_the_explained_class(tmp_path):
    seen = []

    class Spy(Certifier):
        def __call__(self, model, images, targets=None, ids=None, on_block=None):
            results = super().__call__(model, images, targets, ids, on_block)
            seen.extend(one["pixel"].sampling["target_rule"] for one in results)
            return results

    spy = Spy(Gradient(), GaussianNoise(0.25), [PixelCertificate(top_k=[0.5], alpha=0.05)], 60, class_samples=20)
    run = trainer(tmp_path, CertificationCallback(spy, num_images=3, targets="noisy_majority"))
    (values,) = run.validate(module(), loader(), verbose=False)
    assert seen == ["noisy_majority"] * 3
    assert 0 < values["certified/noisy_accuracy"] <= 1


def test_a_part_called_net_is_not_taken_for_a_module_that_does_more_than_it():
    class Normalising(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, images):
            return self.net((images - 0.5) / 0.25)

    module, own = Normalising(), RobustClassifier(Net(), CrossEntropy())
    assert network_of(module) is module
    assert network_of(own) is own.net
    doing_more = type("DoingMore", (RobustClassifier,), {"forward": Normalising.forward})(Net(), CrossEntropy())
    assert network_of(doing_more) is doing_more


@pytest.mark.parametrize("hook", ["on_before_batch_transfer", "on_after_batch_transfer"])
@pytest.mark.parametrize("owner", ["module", "data"])
def test_hooks_that_change_batches_are_refused_before_training(tmp_path, hook, owner):
    def change(self, batch, dataloader_idx):
        return batch

    model, data = module(), LightningDataModule()
    data.train_dataloader = data.val_dataloader = loader
    changing = model if owner == "module" else data
    changing.__class__ = type("Changing", (type(changing),), {hook: change})
    with pytest.raises(InputError, match=rf"Changing changes batches in {hook}, which certification does not call"):
        trainer(tmp_path, CertificationCallback(certifier(), 1)).fit(model, datamodule=data)
    assert model.global_step == 0
