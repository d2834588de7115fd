import pytest
import torch
from lightning import Trainer
from own_module import OwnClassifier
from torch.utils.data import DataLoader, TensorDataset

from lit_certattr import CertificationCallback, Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.models import load_weights
from lit_certattr.smoothing import GaussianNoise

images, labels = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)


def validated(folder, given):
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.25])], num_samples=100)
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[CertificationCallback(certifier, num_images=1, radii=[0.1])],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    (values,) = trainer.validate(OwnClassifier(), DataLoader(TensorDataset(given, labels)), verbose=False)
    return values


def test_plain_tensors_are_certified(tmp_path):
    values = validated(tmp_path, images)
    assert 0 <= values["certified/fraction_k25_r0_10"] <= 1
    assert "val/accuracy" in values


def test_normalised_data_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match="make normalisation the network's first layer"):
        validated(tmp_path, (images - 0.3) / 0.4)


def test_its_checkpoint_is_loaded_as_data(tmp_path):
    torch.save({"state_dict": OwnClassifier().state_dict()}, tmp_path / "own.ckpt")
    load_weights(OwnClassifier(), tmp_path / "own.ckpt")
