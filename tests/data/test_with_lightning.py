"""The data modules inside a Trainer, and every data config on its own."""

from pathlib import Path

import jsonargparse
import pytest
import torch
import yaml
from lightning import LightningModule, Trainer
from PIL import Image

from lit_certattr.data import Digits, ImageDataModule, ImageFolder

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning 2.6 asks torch's pytree a question that torch has since deprecated.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))


class Linear(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LazyLinear(10)

    def forward(self, images):
        return self.layer(images.flatten(1))

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self(batch.image), batch.target)

    def validation_step(self, batch, _):
        assert batch.id[0].startswith("digits-")
        accuracy = (self(batch.image).argmax(1) == batch.target).float().mean()
        self.log("val/accuracy", accuracy, batch_size=len(batch.target))

    def predict_step(self, batch, _):
        return batch

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def trainer(path, **options):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=path,
        **options,
    )


def test_digits_train_and_predict(tmp_path):
    module = Linear()
    module(torch.zeros(1, 1, 8, 8))
    run = trainer(tmp_path, max_epochs=5)
    run.fit(module, Digits())
    assert run.callback_metrics["val/accuracy"] > 0.85
    data = Digits(batch_size=64, max_images=70)
    batches = run.predict(module, data)
    assert [len(batch.id) for batch in batches] == [64, 6]
    assert [name for batch in batches for name in batch.id] == data.predict_set.ids


def test_a_folder_without_labels_predicts(tmp_path):
    for name in "ba":
        Image.new("RGB", (9, 9)).save(tmp_path / f"{name}.png")
    (batch,) = trainer(tmp_path).predict(Linear(), ImageFolder(str(tmp_path), size=4))
    assert batch.id == ["a.png", "b.png"]
    assert batch.target.tolist() == [-1, -1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_data_config_builds_its_module(path, tmp_path, monkeypatch):
    # Lightning too still says instantiate_classes; the new name is younger than our lower bound.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Image.new("RGB", (9, 9)).save("images/1.png")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageDataModule, "data")
    module = parser.instantiate_classes(parser.parse_object(yaml.safe_load(path.read_text()))).data
    assert isinstance(module, ImageDataModule)
    assert len(module.image_shape) == 3
    assert module.num_classes > 0 or path.stem == "image_folder"
