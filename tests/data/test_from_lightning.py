"""Data modules and data sets from outside the package, as users write them."""

import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    random_split,
)
from torchvision.datasets import FakeData
from torchvision.transforms import v2

from lit_certattr.data import Digits, FromDatasets, FromLightning, as_image_data
from lit_certattr.errors import InputError

TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


class Module(LightningDataModule):
    """Splits are made in ``setup``, as Lightning's documentation shows it."""

    def __init__(self, transform=TENSOR, **loader):
        super().__init__()
        self.transform, self.loader, self.stages = transform, loader, []

    def setup(self, stage):
        self.stages.append(stage)
        fake = [FakeData(8, (3, 8, 8), 4, transform=self.transform, random_offset=offset) for offset in (0, 50, 90)]
        if stage == "fit":
            self.train, self.val = fake[:2]
        if stage == "test":
            self.test = fake[2]

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=3)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=4, **self.loader)


class WithoutTest(Module):
    test_dataloader = LightningDataModule.test_dataloader


def certified(module, **options):
    data = FromLightning(module, **options)
    data.setup("predict")
    return data.predict_set


def test_our_own_modules_stay_what_they_are_and_others_are_wrapped():
    own = Digits()
    assert as_image_data(own) is own
    assert isinstance(as_image_data(Module()), FromLightning)
    with pytest.raises(InputError, match=r"got a FakeData: wrap a Dataset, lit_certattr\.data\.FromDatasets"):
        as_image_data(FakeData())
    with pytest.raises(InputError, match="got the class Module"):
        as_image_data(Module)


def test_test_images_are_read_in_order_with_stable_ids_although_the_loader_shuffles():
    shuffled, plain = certified(Module(shuffle=True)), certified(Module())
    assert shuffled.ids == plain.ids == [f"test-{index:05d}" for index in range(8)]
    assert shuffled.targets == plain.targets
    for index in range(8):
        assert torch.equal(shuffled[index].image, plain[index].image)


def test_a_larger_number_keeps_the_images_of_a_smaller_one():
    few, more = (certified(Module(), max_images=number) for number in (2, 5))
    assert len(few) == 2
    assert set(few.ids) < set(more.ids)
    assert few[0].image.equal(more[more.ids.index(few.ids[0])].image)


def test_without_a_test_loader_the_validation_images_are_certified_with_a_warning():
    with pytest.warns(UserWarning, match="WithoutTest has no test_dataloader"):
        assert certified(WithoutTest()).ids[0] == "val-00000"
    with pytest.raises(InputError, match="no images to certify: give it a test_dataloader"):
        certified(LightningDataModule())


def test_training_keeps_the_loader_and_validation_the_order():
    data = FromLightning(Module())
    data.setup("fit")
    data.setup("fit")
    assert data.data.stages == ["fit"], "a second time, a random split would be another one"
    assert data.image_shape == (3, 8, 8)
    assert data.first_images().shape == (2, 3, 8, 8)
    batch = next(iter(data.train_dataloader()))
    assert batch.image.shape == (4, 3, 8, 8)
    assert next(batch.id for batch in data.val_dataloader()) == ["val-00000", "val-00001", "val-00002"]


def test_samplers_that_choose_images():
    half = certified(Module(sampler=SubsetRandomSampler([5, 1, 3])))
    assert half.ids == ["test-00001", "test-00003", "test-00005"]
    with pytest.raises(InputError, match=r"chooses images with WeightedRandomSampler: .*utils\.data\.Subset"):
        certified(Module(sampler=WeightedRandomSampler([1.0] * 8, 4)))


def test_a_collate_function_of_the_user_is_applied():
    def halved(samples):
        return torch.stack([image / 2 for image, _ in samples]), torch.tensor([label for _, label in samples])

    assert torch.equal(certified(Module(collate_fn=halved))[0].image, certified(Module())[0].image / 2)


def test_test_images_that_change_are_refused():
    flips = v2.Compose([TENSOR, v2.RandomHorizontalFlip(0.5)])
    with pytest.raises(InputError, match="test image 0 is another one each time it is read"):
        certified(Module(flips))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.rand(3, 8, 8), 1)] * 4)


class Moving(Module):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


class Several(Module):
    def test_dataloader(self):
        return [super().test_dataloader()] * 2


class Streaming(Module):
    def test_dataloader(self):
        return DataLoader(Stream(), batch_size=2)

    train_dataloader = test_dataloader


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Moving, r"Moving changes batches in on_after_batch_transfer.*models\.Normalized"),
        (Several, "returns a list of 2, not one torch DataLoader"),
        (Streaming, "without length and order"),
    ],
)
def test_modules_that_cannot_be_read_are_refused(module, said):
    with pytest.raises(InputError, match=said):
        certified(module())


def test_a_stream_can_be_trained_on():
    data = FromLightning(Streaming())
    data.setup("fit")
    assert data.image_shape == (3, 8, 8)


class Named(Dataset):
    classes = ("cat", "dog")

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.full((3, 4, 4), index / 4), index % 2, f"photo {index}"


def test_data_sets_need_no_module():
    data = FromDatasets(test=Subset(Named(), [3, 0]), train=Named(), batch_size=2)
    data.setup("predict")
    assert data.class_names == ["cat", "dog"]
    assert [name.partition("-")[0] for name in data.predict_set.ids] == ["photo_3", "photo_0"]
    assert data.predict_set.targets == [1, 0]
    data.setup("fit")
    assert len(next(iter(data.train_dataloader())).target) == 2
    with pytest.raises(InputError, match="has no val images: give val"):
        data.val_dataloader()
    with pytest.raises(InputError, match="needs a data set"):
        FromDatasets()
    with pytest.raises(InputError, match="test is a Stream without length"):
        FromDatasets(test=Stream())


def test_validation_images_of_a_random_split_are_those_that_training_validated():
    class Split(WithoutTest):
        def setup(self, stage):
            super().setup(stage)
            if stage == "fit":
                self.train, self.val = random_split(self.train, [4, 4])

    data = FromLightning(Split())
    data.setup("fit")
    validated = [batch.image for batch in data.val_dataloader()]
    with pytest.warns(UserWarning, match="its validation images are certified"):
        data.setup("predict")
    assert data.data.stages == ["fit"]
    certified_images = [data.predict_set[index].image for index in range(4)]
    assert torch.equal(torch.stack(certified_images), torch.cat(validated))
