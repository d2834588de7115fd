"""Image classifiers of Hugging Face: the logits of the library, for images in [0, 1], and nothing unsafe is loaded."""

import json

import pytest
import torch
from PIL import Image

from lit_certattr import certify
from lit_certattr.errors import InputError
from lit_certattr.models import HuggingFaceClassifier

transformers = pytest.importorskip("transformers")

NAMES = {0: "cat", 1: "dog", 2: "owl"}
PROCESSOR = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.25, 0.2, 0.5],
    "do_resize": True,
    "size": {"height": 16, "width": 16},
}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def tiny():
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=4,
        id2label=NAMES,
        label2id={name: index for index, name in NAMES.items()},
    )
    return transformers.ViTForImageClassification(config).eval()


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    return path


def with_processor(folder, **changed):
    settings = {key: value for key, value in {**PROCESSOR, **changed}.items() if value is not None}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_logits_are_those_of_the_library(folder, model, capfd):
    network = HuggingFaceClassifier(with_processor(folder))
    assert not capfd.readouterr().err  # no bars
    mean, std = (torch.tensor(PROCESSOR[key]).reshape(3, 1, 1) for key in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = model(pixel_values=(IMAGES - mean) / std).logits
        assert torch.allclose(network(IMAGES), expected, atol=1e-5)
    assert network.class_names == ["cat", "dog", "owl"]
    assert (network.num_classes, network.input_size) == (3, (3, 16, 16))


@pytest.mark.parametrize(
    ("changed", "mean", "std"),
    [
        ({"do_normalize": False}, [0.0] * 3, [1.0] * 3),
        ({"rescale_factor": 2 / 255}, [0.25, 0.2, 0.15], [0.125, 0.1, 0.25]),
        ({"do_rescale": False, "do_normalize": False}, [0.0] * 3, [1 / 255] * 3),
    ],
)
def test_rescaling_and_normalisation_are_one_layer(folder, changed, mean, std):
    layer = HuggingFaceClassifier(with_processor(folder, **changed)).normalize
    assert layer.mean.flatten().tolist() == pytest.approx(mean)
    assert layer.std.flatten().tolist() == pytest.approx(std)


@pytest.mark.parametrize(
    ("changed", "size"),
    [
        ({"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": {"height": 12, "width": 12}}, (12, 12)),
        ({"size": {"shortest_edge": 20}}, (20, 20)),
        ({"size": 20}, (20, 20)),
        ({"do_resize": False}, (16, 16)),
    ],
)
def test_the_size_is_what_the_processor_ends_with(folder, changed, size):
    assert HuggingFaceClassifier(with_processor(folder, **changed)).input_size == (3, *size)


def test_one_line(folder, tmp_path):
    Image.new("RGB", (40, 30), (90, 20, 200)).save(tmp_path / "one.png")
    found = certify(
        HuggingFaceClassifier(with_processor(folder)), tmp_path / "one.png", "owl", num_samples=60, progress=False
    )
    assert found.image.shape == (3, 16, 16)
    assert found.explained == "owl (2)"


def test_what_cannot_be_loaded(folder, tmp_path, model):
    with pytest.raises(InputError, match=r"the model someone/nothing cannot be loaded .* with download=True") as caught:
        HuggingFaceClassifier("someone/nothing")
    assert "\n" not in str(caught.value)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="only safetensors are loaded: save it again with save_pretrained"):
        HuggingFaceClassifier(tmp_path)
    model.vit.save_pretrained(tmp_path / "body")
    with pytest.raises(InputError, match=r"holds no weights for classifier.*logits would be random"):
        HuggingFaceClassifier(tmp_path / "body")
    with pytest.raises(InputError, match=r"the image processor of .* sets include_top: give mean and std"):
        HuggingFaceClassifier(with_processor(folder, include_top=True))
    assert HuggingFaceClassifier(folder, mean=[0.5], std=[0.5]).normalize.mean.shape == (3, 1, 1)
    with pytest.raises(InputError, match="names no image_mean and image_std"):
        HuggingFaceClassifier(with_processor(folder, image_mean=None))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="has no image processor: give mean and std"):
        HuggingFaceClassifier(folder)


def test_no_code_of_a_model_runs(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "evil.Evil"}
    config["model_type"] = "evil"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\n")
    with pytest.raises(InputError, match="cannot be loaded"):
        HuggingFaceClassifier(tmp_path)
    assert not (tmp_path / "ran").exists()
