"""What maps are worth inside real Trainers: what is logged, and that training is left alone."""

import pytest
import torch

from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.callbacks import MapQualityCallback
from lit_certattr.errors import InputError
from lit_certattr.metrics import RankAccuracyQuality, SparsenessQuality
from lit_certattr.metrics.functional import random_logit, relevance_rank_accuracy, sparseness
from lit_certattr.numbers import Box, RegionMask
from lit_certattr.regions import MaskFolder, Superpixels
from tests.callbacks.test_overlap import loader, module, trainer

LEFT = Box(0, 0, 1, 0.5)


@pytest.mark.parametrize("inference_mode", [False, True])
def test_logs_means_over_the_first_images_beside_chance(tmp_path, inference_mode):
    one = module()
    callbacks = [
        MapQualityCallback(Gradient(), num_images=10),
        MapQualityCallback(Gradient(), [RankAccuracyQuality(LEFT)]),
    ]
    run = trainer(tmp_path, *callbacks, inference_mode=inference_mode)
    run.validate(one, loader(1), verbose=False)
    samples = loader(1).dataset
    images, ids = torch.stack([sample.image for sample in samples]), [sample.id for sample in samples]
    net = one.net.eval()
    targets = net(images).argmax(1)
    maps = Gradient()(net, images, targets)
    inside = LEFT.mask((6, 6)).expand_as(maps)
    other = random_logit(net, images[:10], targets[:10], Gradient(), ids=ids[:10])
    expected = {
        "val/sparseness": sparseness(maps[:10]).map,
        "val/sparseness_chance": torch.tensor(2**0.5 - 1),
        "val/random_logit": other.map,
        "val/random_logit_chance": other.chance,
        "val/relevance_rank_accuracy": relevance_rank_accuracy(maps, inside).map,
        "val/relevance_rank_accuracy_chance": torch.tensor(0.5),
    }
    for name, values in expected.items():
        assert float(run.callback_metrics[name]) == pytest.approx(float(values.mean()), abs=1e-5), name


def test_training_with_it_is_training_without_it(tmp_path):
    weights = []
    for callbacks in ([], [MapQualityCallback(Gradient(), num_images=5)]):
        one = module()
        trainer(tmp_path, *callbacks, max_epochs=2, num_sanity_val_steps=1).fit(one, loader(0), loader(1))
        assert one.net.training
        weights.append([value.clone() for value in one.net.state_dict().values()])
    assert all(torch.equal(first, second) for first, second in zip(*weights, strict=True))


def test_an_image_without_a_mask_stops_before_the_first_step(tmp_path):
    one, quality = module(), RankAccuracyQuality(RegionMask(MaskFolder(str(tmp_path))))
    run = trainer(tmp_path, MapQualityCallback(Gradient(), [quality]), max_epochs=1, num_sanity_val_steps=2)
    with pytest.raises(InputError, match="image s1-0 has no mask"):
        run.fit(one, loader(0), loader(1))
    assert run.global_step == 0


def test_looks_in_every_nth_epoch_only(tmp_path):
    seen = []

    class Counting(SparsenessQuality):
        def values(self, explained):
            seen.append(len(explained.ids))
            return super().values(explained)

    callback = MapQualityCallback(Gradient(), [Counting()], num_images=6, every_n_epochs=2)
    trainer(tmp_path, callback, max_epochs=3).fit(module(), loader(0), loader(1))
    assert seen == [4, 2, 4, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MapQualityCallback(Gradient(), []), "at least one"),
        (lambda: MapQualityCallback(Gradient(), num_images=0), "num_images"),
        (lambda: MapQualityCallback(Gradient(), every_n_epochs=0), "every_n_epochs"),
        (lambda: MapQualityCallback(RegionMap(Gradient(), Superpixels())), "differ from image to image"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
