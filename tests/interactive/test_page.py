"""The examples of docs/any_network.md run as they stand, with small networks and few samples."""

import functools
import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import lit_certattr.interactive

PAGE = Path(__file__).parents[2] / "docs" / "any_network.md"


class Small(nn.Module):
    """What the page needs of a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.Tanh(), nn.Conv2d(4, 4, 3, stride=2), nn.Tanh())
        self.fc = nn.Linear(4, 10)

    def forward(self, images):
        features = self.layer4(images)
        return self.fc((features * features.flatten(2).amax(2)[..., None, None]).mean((2, 3)))


class SmallSegmentation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 21, 3, padding=1)

    def forward(self, images):
        return {"out": self.conv(images).tanh()}


def save_vit(folder):
    import transformers

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    names = {0: "cat", 1: "owl"}
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=4, **labels)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    Image.effect_noise((90, 70), 60).convert("RGB").save(tmp_path / "cat.jpg")
    monkeypatch.setattr(torchvision.models, "resnet18", lambda weights: Small().eval())
    monkeypatch.setattr(
        torchvision.models.segmentation, "lraspp_mobilenet_v3_large", lambda weights: SmallSegmentation()
    )
    few = functools.partial(lit_certattr.interactive.certify, num_samples=60, progress=False)
    monkeypatch.setattr(lit_certattr.interactive, "certify", few)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    if importlib.util.find_spec("transformers") is None:
        blocks = [block for block in blocks if "HuggingFace" not in block]
    else:
        save_vit(tmp_path / "my_vit")
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["certified"].image.shape == (3, 224, 224)
    assert len(names["several"]) == 2
    assert torch.allclose(names["several"][1].image, names["images"][1], atol=1e-6)
    assert "no perturbation of the image" in capsys.readouterr().out
    assert (tmp_path / "cat.png").stat().st_size > 10_000


@pytest.mark.parametrize("anchor", re.findall(r"\]\(([^)#]+)", PAGE.read_text()))
def test_links(anchor):
    assert (PAGE.parent / anchor).exists()
