"""The weights of denoisers: those of the package, and those of files."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lit_certattr.data import Photographs
from lit_certattr.errors import InputError
from lit_certattr.models import UNetDenoiser, unet

FILE = Path(unet.__file__).parent / "weights" / "photographs.safetensors"
SHA256 = "c5bb59c81097fb6628eb5ae69f60e4ba86ad4ca34acca0246dc23f5ee99d669a"


def test_packaged_weights_are_those_of_the_model_card():
    content = FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256
    assert SHA256 in (Path(__file__).parents[2] / "docs/denoiser.md").read_text()
    assert len(content) < 1_000_000
    assert {value.dtype for value in load_file(FILE).values()} == {torch.float16}


def test_packaged_weights_denoise_photographs_that_trained_nothing():
    denoiser = UNetDenoiser(weights="photographs").eval()
    data = Photographs(size=112)
    data.setup("test")
    images = torch.stack([data.test_set[index].image for index in range(len(data.test_set))])
    generator = torch.Generator().manual_seed(0)
    for sigma, gain in ((0.1, 4), (0.25, 7), (0.5, 10)):
        noisy = images + sigma * torch.randn(images.shape, generator=generator)
        with torch.no_grad():
            denoised = denoiser(noisy)
        before, after = ((one - images).square().mean().log10() * -10 for one in (noisy, denoised))
        assert after > before + gain


def test_packaged_weights_need_the_settings_they_were_trained_with():
    for settings in ({"channels": 1}, {"width": 32}, {"patch": 1}):
        with pytest.raises(InputError, match=r"'photographs' are for channels=3, width=28, patch=2, got"):
            UNetDenoiser(weights="photographs", **settings)
    with pytest.raises(InputError, match="weights_key='a' selects weights from a file, but no file is given"):
        UNetDenoiser(weights="photographs", weights_key="a")


def test_weights_come_from_files(tmp_path):
    trained = UNetDenoiser(channels=1, width=4, patch=1)
    torch.nn.init.normal_(trained.leave.weight)
    save_file(trained.state_dict(), tmp_path / "a.safetensors")
    torch.save({"one": trained.state_dict(), "two": UNetDenoiser(1, 4, 1).state_dict()}, tmp_path / "b.pt")
    images = torch.rand(1, 1, 8, 8)
    for settings in ({"weights": "a.safetensors"}, {"weights": "b.pt", "weights_key": "one"}):
        settings["weights"] = str(tmp_path / settings["weights"])
        assert torch.equal(UNetDenoiser(1, 4, 1, **settings)(images), trained(images))
    with pytest.raises(InputError, match="nowhere"):
        UNetDenoiser(weights="nowhere")
    with pytest.raises(InputError, match="does not fit UNetDenoiser"):
        UNetDenoiser(1, 5, 1, weights=str(tmp_path / "a.safetensors"))
