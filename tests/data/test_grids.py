"""Mosaics: as many as there can be, of the right images, whatever is asked and however unequal the classes are."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import LightningModule, Trainer
from torch import nn

from lit_certattr.attribution import InputXGradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.certification import Certifier
from lit_certattr.data import GridMosaics, ImageDataModule, Photographs, SampleSet
from lit_certattr.data.grids import mosaics
from lit_certattr.errors import InputError
from lit_certattr.metrics import CertifiedGridPG, GridPG
from lit_certattr.models import EfficientNetLite0, SmallCNN
from lit_certattr.smoothing import GaussianNoise


class Channels(ImageDataModule):
    """Class c is an image whose channel c is bright, more or less; the images of ``dim`` are dark."""

    def __init__(self, targets, dim=(), side=4, labels=None):
        super().__init__(batch_size=4)
        self.num_classes, self.class_names, self.image_shape = 5, list("abcde"), (5, side, side)
        self.targets, self.dim, self.labels = targets, dim, labels

    def setup(self, stage):
        images = torch.zeros(len(self.targets), *self.image_shape)
        for index, target in enumerate(self.targets):
            images[index, target] = 0.01 if index in self.dim else 0.5 + index / (2 * len(self.targets))
        targets = self.targets if self.labels is None else self.labels
        self.test_set = SampleSet(images, targets, [f"image-{index:03d}" for index in range(len(images))])


class ChannelSum(nn.Module):
    """Logit c is the sum of channel c: takes any size, and input x gradient is channel c itself."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, images):
        return self.scale * images.sum((2, 3))


EVEN = [0, 1, 2, 3, 4] * 4


@given(st.lists(st.integers(0, 7), max_size=40), st.integers(0, 3))
def test_as_many_groups_as_there_can_be(targets, seed):
    groups = mosaics(targets, seed)
    counts = Counter(targets).values()
    most = max(m for m in range(len(targets) + 1) if sum(min(count, m) for count in counts) >= 4 * m)
    assert len(groups) == most
    used = [index for group in groups for index in group]
    assert len(set(used)) == len(used)
    assert all(len({targets[index] for index in group}) == 4 for group in groups)
    assert groups == mosaics(targets, seed)


def test_every_mosaic_appears_once_a_cell():
    data = GridMosaics(Channels(EVEN), ChannelSum(), seed=3)
    data.setup("predict")
    assert len(data.predict_set) == 4 * 5
    assert data.cells == [0, 1, 2, 3] * 5
    source = Channels(EVEN)
    source.setup("test")
    place = {name: index for index, name in enumerate(source.test_set.ids)}
    for index, (image, target, name) in enumerate(data.predict_set):
        cell = index % 4
        parts = [source.test_set[place[part]] for part in data.parts[index]]
        assert name.endswith(f"-cell{cell}")
        assert target == parts[cell].target
        assert torch.equal(image[:, :4, :4], parts[0].image)
        assert torch.equal(image[:, :4, 4:], parts[1].image)
        assert torch.equal(image[:, 4:, :4], parts[2].image)
        assert torch.equal(image[:, 4:, 4:], parts[3].image)
    used = [part for parts in data.parts[::4] for part in parts]
    assert len(set(used)) == 20
    assert data.image_shape == tuple(image.shape) == (5, 8, 8)


def test_the_network_chooses_and_is_left_as_found():
    network = ChannelSum()
    network.scale.grad = torch.tensor(7.0)
    data = GridMosaics(Channels(EVEN, dim=(0, 1, 2)), network, min_confidence=0.9)
    data.setup("test")
    used = {part for parts in data.parts for part in parts}
    assert used.isdisjoint({"image-000", "image-001", "image-002"})
    assert len(data.test_set) == 4 * 4
    assert (network.training, network.scale.requires_grad, float(network.scale.grad)) == (True, True, 7.0)
    wrong = GridMosaics(Channels(EVEN, labels=[(target + 1) % 5 for target in EVEN]), network)
    with pytest.raises(InputError, match="0 can be made of the 0 of 20"):
        wrong.setup("test")  # confident, but of another class


def test_seeds_ids_and_smaller_numbers():
    def ids(**settings):
        data = GridMosaics(Channels(EVEN), ChannelSum(), **settings)
        data.setup("test")
        return data.test_set.ids

    assert ids() == ids(seed=0)
    assert set(ids()).isdisjoint(ids(seed=1))
    assert ids(num_grids=2) == ids()[:8]


def test_shrunk_mosaics_have_the_size_of_an_image():
    data = GridMosaics(Channels(EVEN), ChannelSum(), shrink=True)
    data.setup("test")
    image, target, _ = data.test_set[1]
    assert tuple(image.shape) == data.image_shape == (5, 4, 4)
    assert (image[int(target), :2, 2:] > 0.5).all()
    assert image[int(target)].sum() == image[int(target), :2, 2:].sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GridMosaics(Channels(EVEN), ChannelSum(), num_grids=0), "num_grids must be"),
        (lambda: GridMosaics(Channels(EVEN), ChannelSum(), min_confidence=1.5), "min_confidence must lie"),
        (lambda: GridMosaics(Channels(EVEN, side=5), ChannelSum(), shrink=True), "even sides"),
        (lambda: GridMosaics(Channels(EVEN), ChannelSum(), num_grids=6), "6 mosaics .* 5 can be made of the 20 of 20"),
        (lambda: GridMosaics(Channels([0, 1, 2] * 9), ChannelSum()), "1 mosaics .* 0 can be made"),
        (lambda: GridMosaics(Channels(EVEN, labels=[-1] * 20), ChannelSum()), "no image of Channels has one"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make().setup("test")
    assert "\n" not in str(caught.value)


def test_gridpg_of_a_network_whose_maps_are_known():
    """Input x gradient of a sum over a channel is that channel, so all of it lies in the cell of the class."""
    data, network = GridMosaics(Channels(EVEN), ChannelSum()), ChannelSum()
    data.setup("test")
    metric, done = GridPG(), 0
    for batch in data.test_dataloader():
        maps = InputXGradient(channels="sum")(network, batch.image, batch.target)
        metric.update(maps, data.cells[done : done + len(maps)])
        done += len(maps)
    assert done == 20
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(
        {"gridpg": 1, "gridpg_centre": 0.25, "gridpg_uniform": 0.25, "gridpg_empty": 0}, abs=1e-6
    )


def test_certified_gridpg_of_the_same_network():
    data, network = GridMosaics(Channels(EVEN), ChannelSum(), num_grids=1), ChannelSum()
    data.setup("test")
    images = torch.stack([sample.image for sample in data.test_set])
    targets = torch.tensor(data.test_set.targets)
    certificate = PixelCertificate(top_k=(0.25, 0.5), alpha=0.01)
    certifier = Certifier(InputXGradient(channels="sum"), GaussianNoise(0.1), [certificate], num_samples=100)
    results = [result["pixel"] for result in certifier(network, images, targets)]
    metric = CertifiedGridPG(radius=0.05)
    metric.update(results[:3], data.cells[:3])
    metric.update(results[3], data.cells[3:4])
    values = {name.removeprefix("certified_gridpg"): float(value) for name, value in metric.compute().items()}
    assert values == pytest.approx(
        {"": 1, "_centre": 0.25, "_uniform": 0.25, "_no_support": 0, "_support": 16}, abs=1e-6
    )
    # A budget beyond every radius leaves nothing, which counts as 0 and is said.
    beyond = CertifiedGridPG(radius=1.0)
    beyond.update(results, data.cells)
    values = {name.removeprefix("certified_gridpg"): float(value) for name, value in beyond.compute().items()}
    assert (values[""], values["_no_support"], values["_support"]) == (0, 1, 0)


def test_images_without_a_label_are_passed_over():
    data = GridMosaics(Channels(EVEN, labels=[-1] * 5 + EVEN[5:]), ChannelSum())
    data.setup("test")
    assert {part for parts in data.parts for part in parts}.isdisjoint({f"image-00{index}" for index in range(5)})


@pytest.mark.slow
def test_the_photographs_make_one_mosaic():
    data = GridMosaics(Photographs(), EfficientNetLite0(), min_confidence=0.3, shrink=True)
    data.setup("predict")
    assert set(data.parts[0]) == {"chelsea", "coffee", "camera", "china"}
    assert data.predict_set[3].image.shape == (3, 224, 224)


def test_the_network_may_be_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.ckpt"):
        GridMosaics(Channels(EVEN), str(tmp_path / "nothing.ckpt"))
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8, "width": 2}}
    weights = {f"net.{name}": value for name, value in SmallCNN(image_size=8, width=2).state_dict().items()}
    torch.save({"hyper_parameters": {"net": spec}, "state_dict": weights}, tmp_path / "last.ckpt")
    assert isinstance(GridMosaics(Channels(EVEN), str(tmp_path / "last.ckpt")).network, SmallCNN)


def test_lightning_predicts_on_mosaics():
    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.network = ChannelSum()

        def predict_step(self, batch):
            return self.network(batch.image).argmax(1)

    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    data = GridMosaics(Channels(EVEN), ChannelSum(), batch_size=8)
    predictions = torch.cat(trainer.predict(Module(), datamodule=data))
    assert len(predictions) == 20
