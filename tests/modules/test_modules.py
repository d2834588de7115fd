import functools

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Subset

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import Digits, Sample, SampleSet, collate
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.modules import CertificationModule, RobustClassifier
from lit_certattr.modules.training_checks import check_data, check_objective
from lit_certattr.objectives import CrossEntropy, NoiseAugmentation, NoiseConsistency, Objective
from lit_certattr.smoothing import GaussianNoise


def small_net() -> SmallCNN:
    return SmallCNN(image_size=8, width=4)


def quiet_trainer(tmp_path, **settings) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return Trainer(
        **quiet | {"accelerator": "cpu", "enable_progress_bar": False, "default_root_dir": tmp_path} | settings
    )


class TestRobustClassifier:
    @pytest.mark.parametrize("objective", [CrossEntropy(), NoiseAugmentation(GaussianNoise(0.05))], ids=repr)
    def test_overfits_one_batch(self, objective, tmp_path):
        module = RobustClassifier(small_net(), objective, functools.partial(torch.optim.Adam, lr=0.01))
        data = Digits()
        data.setup("fit")
        batch = DataLoader(data.train_set.subset(range(32)), batch_size=32, collate_fn=collate)
        trainer = quiet_trainer(tmp_path, max_epochs=100, check_val_every_n_epoch=50)
        trainer.fit(module, batch, batch)
        assert trainer.callback_metrics["val/accuracy"] == 1.0
        assert trainer.callback_metrics["train/loss"] < 0.05

    def test_logs_names_without_a_dot_and_the_true_accuracy(self, tmp_path):
        module, data = RobustClassifier(small_net(), CrossEntropy()), Digits(batch_size=64)
        trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=3)
        trainer.fit(module, datamodule=data)
        wanted = {"train/loss", "train/accuracy", "val/loss", "val/accuracy"}
        assert set(trainer.callback_metrics) == wanted
        logged = dict(trainer.callback_metrics)
        everything = collate(list(data.val_set))
        with torch.no_grad():
            logits = module.net(everything.image)
        expected = (logits.argmax(1) == everything.target).float().mean()
        torch.testing.assert_close(logged["val/accuracy"], expected)
        loss = nn.functional.cross_entropy(logits, everything.target)
        torch.testing.assert_close(logged["val/loss"], loss, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("inference_mode", [True, False])
    def test_validate_test_and_predict(self, tmp_path, inference_mode):
        module, data = RobustClassifier(small_net(), CrossEntropy()), Digits(batch_size=64)
        trainer = quiet_trainer(tmp_path, inference_mode=inference_mode)
        assert set(trainer.validate(module, data, verbose=False)[0]) == {"val/accuracy", "val/loss"}
        assert set(trainer.test(module, data, verbose=False)[0]) == {"test/accuracy", "test/loss"}
        logits = trainer.predict(module, data)
        assert logits[0].shape == (64, 10)

    def test_uses_the_optimizer_and_the_scheduler_it_was_given(self, tmp_path):
        module = RobustClassifier(
            small_net(),
            CrossEntropy(),
            functools.partial(torch.optim.SGD, lr=0.5),
            functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1),
        )
        trainer = quiet_trainer(tmp_path, max_epochs=2, limit_train_batches=1, limit_val_batches=0)
        trainer.fit(module, datamodule=Digits())
        (optimizer,) = trainer.optimizers
        assert isinstance(optimizer, torch.optim.SGD)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.005)

    def test_optimizer_that_refuses_its_settings_is_the_users_mistake(self):
        module = RobustClassifier(small_net(), CrossEntropy(), functools.partial(torch.optim.Adam, lr=-1.0))
        with pytest.raises(InputError, match=r"optimizer or scheduler: Invalid learning rate: -1\.0"):
            module.configure_optimizers()

    def test_checkpoint_from_python_holds_nothing_but_data(self, tmp_path):
        module = RobustClassifier(small_net(), CrossEntropy())
        trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=2, limit_val_batches=1)
        trainer.fit(module, datamodule=Digits())
        path = tmp_path / "model.ckpt"
        trainer.save_checkpoint(path)
        torch.load(path, weights_only=True)
        again = RobustClassifier.load_from_checkpoint(path, net=small_net(), objective=CrossEntropy())
        images = torch.rand(3, 1, 8, 8)
        assert torch.equal(again.cpu()(images), module.cpu()(images))

    @pytest.mark.parametrize(
        "value", ["nowhere.Evil", "antigravity.Net", {"class_path": "nowhere.Evil"}, [{"class_path": "nowhere.Evil"}]]
    )
    @pytest.mark.parametrize("key", ["net", "objective", "optimizer"])
    def test_checkpoint_that_would_import_something_is_refused(self, tmp_path, key, value):
        path = tmp_path / "hostile.ckpt"
        names = {"_instantiator": "lightning.pytorch.cli.instantiate_module", key: value}
        state = {"pytorch-lightning_version": "2.6.6", "state_dict": small_net().state_dict()}
        torch.save(state | {"hyper_parameters": names}, path)
        with pytest.raises(InputError, match=r"hostile\.ckpt names (nowhere\.Evil|antigravity\.Net)"):
            RobustClassifier.load_from_checkpoint(path)

    def test_pickled_checkpoint_is_refused(self, tmp_path):
        torch.save({"state_dict": {}, "net": small_net()}, tmp_path / "pickled.ckpt")
        with pytest.raises(InputError, match="could run code"):
            RobustClassifier.load_from_checkpoint(tmp_path / "pickled.ckpt")


class Recorder(Objective):
    """Remembers the epochs and ids that it was told."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.told: list[list[str] | None] = []

    def __call__(self, model, images, targets):
        self.epochs.append(self.epoch)
        self.told.append(self.ids)
        return model(images).square().mean(), {}


class TestObjectives:
    def second_order(self) -> NoiseConsistency:
        return NoiseConsistency(GaussianNoise(0.1), Gradient())

    def test_are_told_the_epoch_in_fractions(self, tmp_path):
        objective = Recorder()
        trainer = quiet_trainer(tmp_path, max_epochs=2, limit_train_batches=4, limit_val_batches=0)
        trainer.fit(RobustClassifier(small_net(), objective), datamodule=Digits())
        assert objective.epochs == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]

    def test_are_told_the_ids_of_images_that_are_not_changed(self, tmp_path):
        objective, data = Recorder(), Digits(batch_size=8)
        data.setup("fit")
        plain, flipped = (data.train_set.subset(range(16), augment) for augment in (None, lambda image: image.flip(-1)))
        for samples in (plain, flipped, ConcatDataset([Subset(flipped, range(16))])):
            loader = DataLoader(samples, batch_size=8, collate_fn=collate)
            trainer = quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0)
            trainer.fit(RobustClassifier(small_net(), objective), loader, loader)
        assert objective.told == [plain.ids[:8], plain.ids[8:], *[None] * 4]

    @pytest.mark.parametrize("how", ["function", "method", "part"])
    def test_of_second_order_refuse_compiled_networks_before_the_first_step(self, tmp_path, how):
        net = small_net()
        if how == "function":
            net = torch.compile(net)
        else:
            (net if how == "method" else net.features).compile()
        module = RobustClassifier(net, self.second_order())
        with pytest.raises(InputError, match=r"NoiseConsistency differentiates the network twice, .*torch\.compile"):
            quiet_trainer(tmp_path, max_epochs=1).fit(module, datamodule=Digits())
        check_objective(net, CrossEntropy(), "32-true")

    @pytest.mark.parametrize("precision", ["16-mixed", "16-true"])
    def test_of_second_order_refuse_half_precision(self, precision):
        with pytest.raises(InputError, match=f"underflow in precision {precision}; use bf16-mixed"):
            check_objective(small_net(), self.second_order(), precision)
        check_objective(small_net(), CrossEntropy(), precision)

    @pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
    def test_of_second_order_train_in_other_precisions(self, tmp_path, precision):
        module = RobustClassifier(small_net(), self.second_order())
        trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=2, limit_val_batches=1, precision=precision)
        trainer.fit(module, datamodule=Digits())
        assert trainer.callback_metrics["train/spread"] > 0


class TestCheckData:
    @pytest.fixture
    def data(self):
        data = Digits()
        data.setup("fit")
        return data

    def test_accepts_what_fits(self, data):
        check_data(small_net(), data)
        check_data(nn.Linear(2, 2), data)  # says nothing about itself

    def test_names_the_sizes(self, data):
        with pytest.raises(InputError, match=r"Digits has images of \(1, 8, 8\), but SmallCNN takes \(1, 28, 28\)"):
            check_data(SmallCNN(image_size=28), data)

    def test_names_the_classes(self, data):
        with pytest.raises(InputError, match="Digits has 10 classes, but SmallCNN has num_classes=3"):
            check_data(SmallCNN(image_size=8, num_classes=3), data)

    def test_names_the_image_without_a_label(self, data):
        data.val_set = SampleSet(torch.zeros(2, 1, 8, 8), [0, -1], ["a", "b"])
        with pytest.raises(InputError, match="image b has no label"):
            check_data(small_net(), data)

    def test_runs_before_the_first_step(self, tmp_path):
        module = RobustClassifier(SmallCNN(image_size=28), CrossEntropy())
        with pytest.raises(InputError, match="SmallCNN takes"):
            quiet_trainer(tmp_path, max_epochs=1).fit(module, datamodule=Digits())


def certifier(num_samples: int = 60, **settings) -> Certifier:
    return Certifier(
        Gradient(), GaussianNoise(0.25), [PixelCertificate(top_k=[0.25], alpha=0.05)], num_samples, 32, **settings
    )


class TestCertificationModule:
    @pytest.fixture
    def data(self):
        return Digits(batch_size=2, max_images=3)

    def predict(self, module, data, tmp_path, **settings):
        batches = quiet_trainer(tmp_path, **settings).predict(module, data)
        return dict(pair for batch in batches for pair in batch)

    @pytest.mark.parametrize("inference_mode", [True, False])
    def test_gives_what_the_certifier_gives(self, data, tmp_path, inference_mode):
        net = small_net()
        found = self.predict(CertificationModule(net, certifier()), data, tmp_path, inference_mode=inference_mode)
        assert list(found) == data.predict_set.ids
        for sample in data.predict_set:
            (expected,) = certifier()(net, sample.image[None], None, [sample.id])
            assert torch.equal(found[sample.id]["pixel"].votes, expected["pixel"].votes)
            assert found[sample.id]["pixel"].sampling["image_id"] == sample.id
            assert found[sample.id]["pixel"].sampling["target_rule"] == "predicted"

    def test_labels_are_explained_on_request(self, data, tmp_path):
        found = self.predict(CertificationModule(small_net(), certifier(), targets="label"), data, tmp_path)
        targets = {sample.id: int(sample.target) for sample in data.predict_set}
        assert {name: results["pixel"].sampling["target"] for name, results in found.items()} == targets

    def test_missing_label_names_the_image(self):
        module = CertificationModule(small_net(), certifier(), targets="label")
        batch = Sample(torch.rand(2, 1, 8, 8), torch.tensor([3, -1]), ["known", "unknown"])
        with pytest.raises(InputError, match="image unknown has no label"):
            module.predict_step(batch, 0)
        module.skip_ids = frozenset(["unknown"])
        assert [name for name, _ in module.predict_step(batch, 0)] == ["known"]

    def test_an_interrupted_batch_keeps_what_is_certified(self):
        module, done = CertificationModule(small_net(), certifier(), skip_ids=["done"]), []

        def interrupt(samples):
            done.append(samples)
            if sum(done) > module.certifier.num_samples:
                raise KeyboardInterrupt

        batch = Sample(torch.rand(3, 1, 8, 8), torch.zeros(3).long(), ["done", "a", "b"])
        expected = module.predict_step(batch, 0)
        assert module.interrupted is None
        module.on_block = interrupt
        with pytest.raises(KeyboardInterrupt):
            module.predict_step(batch, 0)
        kept, outcomes = module.interrupted
        assert kept is batch
        assert [name for name, _ in outcomes] == ["a"]
        assert torch.equal(outcomes[0][1]["pixel"].votes, expected[0][1]["pixel"].votes)

    def test_skips_what_is_done_and_changes_nothing_else(self, data, tmp_path):
        net = small_net()
        everything = self.predict(CertificationModule(net, certifier()), data, tmp_path)
        first, *others = everything
        rest = self.predict(CertificationModule(net, certifier(), skip_ids=[first]), data, tmp_path)
        assert list(rest) == others
        for name in others:
            assert torch.equal(rest[name]["pixel"].votes, everything[name]["pixel"].votes)
        assert self.predict(CertificationModule(net, certifier(), skip_ids=list(everything)), data, tmp_path) == {}

    def test_counts_every_sample(self, data, tmp_path):
        module, counted = CertificationModule(small_net(), certifier()), []
        module.on_block = counted.append
        self.predict(module, data, tmp_path)
        assert sum(counted) == 3 * 60

    def test_precision_is_recorded(self, data, tmp_path):
        found = self.predict(CertificationModule(small_net(), certifier()), data, tmp_path, precision="bf16-mixed")
        assert {result["pixel"].sampling["precision"] for result in found.values()} == {"float32, autocast bfloat16"}

    @pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
    def test_network_is_frozen_and_in_the_certifiers_layout(self, data, tmp_path, memory_format):
        net = small_net()
        self.predict(CertificationModule(net, certifier(memory_format=memory_format)), data, tmp_path)
        assert not net.training
        assert not any(parameter.requires_grad for parameter in net.parameters())
        weight = net.features[2].weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == (memory_format == "channels_last")

    def test_unknown_rule_is_refused(self):
        with pytest.raises(InputError, match="targets must be one of predicted, label, noisy_majority, got 'truth'"):
            CertificationModule(small_net(), certifier(), targets="truth")
