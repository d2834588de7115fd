"""The guard against templates inside real Trainers: what it logs, and that it leaves training alone."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.callbacks import MetricGate, OverlapCallback
from lit_certattr.data import SampleSet, collate
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional import class_overlap
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import CrossEntropy
from lit_certattr.regions import Superpixels

COUNT = 14


class Net(nn.Sequential):
    """With batch statistics and dropout, so that a wrong mode would show."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(4 * 36, 3),
        )  # fmt: skip


def loader(seed: int) -> DataLoader:
    images = torch.rand(COUNT, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    samples = SampleSet(images, [i % 3 for i in range(COUNT)], [f"s{seed}-{i}" for i in range(COUNT)])
    return DataLoader(samples, batch_size=4, collate_fn=collate)


def trainer(tmp_path, *callbacks, **settings) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"enable_progress_bar": False, "default_root_dir": tmp_path, "num_sanity_val_steps": 0}
    return Trainer(callbacks=list(callbacks), **quiet | settings)


def module() -> RobustClassifier:
    torch.manual_seed(0)
    return RobustClassifier(Net(), CrossEntropy())


@pytest.mark.parametrize("num_images", [10, 200])
@pytest.mark.parametrize("inference_mode", [False, True])
def test_logs_the_overlap_of_the_first_images(tmp_path, num_images, inference_mode):
    one, run = module(), trainer(tmp_path, OverlapCallback(Gradient(), 0.25, num_images), inference_mode=inference_mode)
    run.validate(one, loader(1), verbose=False)
    images = torch.stack([sample.image for sample in loader(1).dataset])[:num_images]
    net = one.net.eval()
    predictions = net(images).argmax(1)
    expected = class_overlap(Gradient()(net, images, predictions), predictions, 0.25)
    found = run.callback_metrics
    assert float(found["val/same_class_overlap"]) == pytest.approx(float(expected.same))
    assert float(found["val/different_class_overlap"]) == pytest.approx(float(expected.different), nan_ok=True)
    assert float(found["val/chance_overlap"]) == pytest.approx(0.25)
    assert float(found["val/constant_maps"]) == 0


def test_training_with_it_is_training_without_it(tmp_path):
    weights = []
    for callbacks in ([], [OverlapCallback(Gradient(), num_images=5)]):
        one = module()
        trainer(tmp_path, *callbacks, max_epochs=2).fit(one, loader(0), loader(1))
        assert one.net.training
        weights.append([value.clone() for value in one.net.state_dict().values()])
    assert all(torch.equal(first, second) for first, second in zip(*weights, strict=True))


def test_a_gate_reads_it_and_another_gate_reads_the_first(tmp_path):
    class Certified(OverlapCallback):
        def on_validation_epoch_end(self, trainer, pl_module):
            pl_module.log("certified/share", torch.tensor(0.7))
            super().on_validation_epoch_end(trainer, pl_module)

    for at_most, selected in ((1.0, 0.7), (0.01, 0.0)):
        gates = [
            MetricGate("certified/share", at_least=0.0, name="certified/accurate"),
            MetricGate("certified/accurate", gate="val/same_class_overlap", at_most=at_most),
        ]
        run = trainer(tmp_path, Certified(Gradient()), *gates, max_epochs=1)
        if not selected:
            with pytest.warns(UserWarning, match="the smallest was"):
                run.fit(module(), loader(0), loader(1))
        else:
            run.fit(module(), loader(0), loader(1))
        assert float(run.callback_metrics["certified/selected"]) == pytest.approx(selected)
        assert len({gate.state_key for gate in gates}) == 2


def test_looks_in_every_nth_epoch_only(tmp_path):
    explained = []

    class Counting(Gradient):
        def __call__(self, model, images, targets, create_graph=False):
            explained.append(len(images))
            return super().__call__(model, images, targets, create_graph)

    trainer(tmp_path, OverlapCallback(Counting(), num_images=6, every_n_epochs=2), max_epochs=3).fit(
        module(), loader(0), loader(1)
    )
    assert explained == [4, 2, 4, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OverlapCallback(Gradient(), top_k=0), "top_k"),
        (lambda: OverlapCallback(Gradient(), num_images=1), "num_images"),
        (lambda: OverlapCallback(Gradient(), every_n_epochs=0), "every_n_epochs"),
        (lambda: OverlapCallback(RegionMap(Gradient(), Superpixels())), "differ from image to image"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
