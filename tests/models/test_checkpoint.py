"""Loading is strict, and nothing in a checkpoint is executed."""

import pickle
import subprocess

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.models import (
    CifarResNet,
    EfficientNetLite0,
    SmallCNN,
    TimmClassifier,
    TorchvisionClassifier,
    load_network,
    load_state_dict,
    load_weights,
    network_hash,
)


class RunsCode:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (subprocess.check_call, (["touch", str(self.marker)],))


def lightning_checkpoint(network, class_path, init_args, **more):
    return {
        "pytorch-lightning_version": "2.6.6",
        "epoch": 3,
        "state_dict": {f"net.{name}": value for name, value in network.state_dict().items()}
        | {"objective.weight": torch.ones(1)},
        "hyper_parameters": {"net": {"class_path": class_path, "init_args": init_args}, "lr": 0.1, **more},
    }


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors"])
def test_round_trip_by_suffix(tmp_path, suffix):
    saved, loaded = SmallCNN(width=2), SmallCNN(width=2)
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(saved.state_dict(), path)
    assert load_state_dict(path).keys() == saved.state_dict().keys()
    load_weights(loaded, path)
    assert network_hash(loaded) == network_hash(saved)


@pytest.mark.parametrize("prefix", ["", "net.", "model.", "module.", "net._orig_mod.", "module.net.", "model.module."])
def test_prefixes_are_stripped(tmp_path, prefix):
    saved, loaded = SmallCNN(width=2), SmallCNN(width=2)
    state = {prefix + name: value for name, value in saved.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "weights.ckpt")
    load_weights(loaded, tmp_path / "weights.ckpt")
    assert network_hash(loaded) == network_hash(saved)


def test_a_network_with_a_part_called_net_keeps_its_names(tmp_path):
    saved, loaded = nn.ModuleDict({"net": nn.Linear(2, 2)}), nn.ModuleDict({"net": nn.Linear(2, 2)})
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    load_weights(loaded, tmp_path / "weights.pt")
    assert network_hash(loaded) == network_hash(saved)


def test_what_does_not_fit_is_named_and_nothing_is_loaded(tmp_path):
    network = SmallCNN(width=2)
    before = network_hash(network)
    state = SmallCNN(width=2, num_classes=7).state_dict()
    state["extra"] = torch.ones(1)
    del state["features.0.bias"]
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(InputError) as caught:
        load_weights(network, tmp_path / "weights.pt")
    message = str(caught.value)
    assert "lacks features.0.bias" in message
    assert "unexpected extra" in message
    assert "classifier.weight ((7, 196) instead of (10, 196))" in message
    assert "\n" not in message
    assert network_hash(network) == before


def test_a_head_of_other_classes_is_refused_with_the_remedy(tmp_path):
    torch.save(SmallCNN(width=2, num_classes=7).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"for 7 in place of 10: --network\.num_classes 7 for lit-certattr"):
        load_weights(SmallCNN(width=2), tmp_path / "weights.pt")
    load_weights(SmallCNN(width=2, num_classes=7), tmp_path / "weights.pt")


def test_other_shapes_are_not_blamed_on_the_number_of_classes(tmp_path):
    torch.save(SmallCNN(width=4).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match="has another shape for") as caught:
        load_weights(SmallCNN(width=2), tmp_path / "weights.pt")
    assert "num_classes" not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text", b"\x89PNG\r\n\x1a\n" * 9, b"PK\x03\x04 broken archive", bytes(64)]
)
def test_files_that_are_no_checkpoints(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="not a PyTorch checkpoint") as caught:
        load_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint(tmp_path):
    torch.save(SmallCNN(width=2).state_dict(), tmp_path / "weights.pt")
    whole = (tmp_path / "weights.pt").read_bytes()
    (tmp_path / "weights.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_state_dict(tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {"a": 1}}, torch.ones(2)])
def test_checkpoints_without_tensors(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="state dict"):
        load_state_dict(tmp_path / "weights.pt")


def test_missing_files(tmp_path):
    missing = {
        "none.ckpt": "there is no such file",
        "checkpoints/best.ckpt": "a training writes it",
        ".": "is a folder",
    }
    for name, said in missing.items():
        for load in (load_state_dict, load_network):
            with pytest.raises(InputError, match=said):
                load(tmp_path / name)


def test_hostile_pickles_do_not_run(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"state_dict": {"a": RunsCode(marker)}}, tmp_path / "zip.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps({"a": RunsCode(marker)}, protocol=2))
    for name in ("zip.ckpt", "plain.ckpt"):
        for load in (load_state_dict, load_network, lambda path: load_weights(SmallCNN(), path)):
            with pytest.raises(InputError, match=r"check_call.*could run code"):
                load(tmp_path / name)
    assert not marker.exists()
    pickle.loads((tmp_path / "plain.ckpt").read_bytes())  # the test's own check: unsafe loading would have run
    assert marker.exists()


@pytest.mark.parametrize(
    ("network", "class_path", "init_args"),
    [
        (SmallCNN(width=3, image_size=8), "lit_certattr.models.SmallCNN", {"width": 3, "image_size": 8}),
        (SmallCNN(width=3), "lit_certattr.models.small_cnn.SmallCNN", {"width": 3, "mean": [0.5], "std": [0.5]}),
        (CifarResNet(8), "lit_certattr.models.CifarResNet", {"depth": 8}),
        (
            TorchvisionClassifier("squeezenet1_1", num_classes=3),
            "lit_certattr.models.TorchvisionClassifier",
            {"name": "squeezenet1_1", "num_classes": 3, "weights": "DEFAULT", "mean": None},
        ),
        (
            TimmClassifier("resnet10t", num_classes=3),
            "lit_certattr.models.TimmClassifier",
            {"name": "resnet10t", "num_classes": 3, "pretrained": True, "weights": None},
        ),
        (EfficientNetLite0(weights=None), "lit_certattr.models.EfficientNetLite0", {}),
    ],
)
def test_load_network_rebuilds_ours_without_other_weights(tmp_path, network, class_path, init_args):
    content = lightning_checkpoint(
        network, class_path, init_args, _instantiator="lightning.pytorch.cli.instantiate_module"
    )
    torch.save(content, tmp_path / "last.ckpt")
    rebuilt = load_network(tmp_path / "last.ckpt")
    assert type(rebuilt) is type(network)
    assert not rebuilt.training
    assert network_hash(rebuilt) == network_hash(network)


@pytest.mark.parametrize(
    ("class_path", "init_args"),
    [
        ("os.system", {"command": "touch MARKER"}),
        ("subprocess.Popen", {"args": ["touch", "MARKER"]}),
        ("builtins.exec", {"source": "open('MARKER', 'w')"}),
        ("torch.nn.Linear", {"in_features": 1, "out_features": 1}),
        ("lit_certattr.models.checkpoint.load_file", {"filename": "MARKER"}),
        ("lit_certattr.models.checkpoint.subprocess.Popen", {"args": ["touch", "MARKER"]}),
        ("lit_certattr.models.load_network", {"path": "MARKER"}),
        ("SmallCNN; import os", {}),
    ],
)
def test_other_classes_are_refused(tmp_path, monkeypatch, class_path, init_args):
    monkeypatch.chdir(tmp_path)
    torch.save(lightning_checkpoint(SmallCNN(), class_path, init_args), "last.ckpt")
    with pytest.raises(InputError, match=r"not one of lit_certattr\.models; name the network in the config"):
        load_network("last.ckpt")
    assert not (tmp_path / "MARKER").exists()


@pytest.mark.parametrize(
    ("init_args", "culprit"),
    [
        ({"widht": 3}, "'widht'; did you mean width"),
        ({"width": {"class_path": "os.system"}}, "not plain values"),
        ({"width": "three"}, "refuses"),
        ({"width": 0}, "last.ckpt has arguments .* width"),
        ({"width": 5}, "does not fit SmallCNN"),
        ("width", "not plain values"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, init_args, culprit):
    torch.save(lightning_checkpoint(SmallCNN(), "lit_certattr.models.SmallCNN", init_args), tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=culprit) as caught:
        load_network(tmp_path / "last.ckpt")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_names_no_network(tmp_path):
    torch.save(SmallCNN().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match="name the network in the config"):
        load_network(tmp_path / "weights.pt")


def test_network_hash_sees_values_names_shapes_and_dtypes_only():
    network = SmallCNN(width=2)
    same = SmallCNN(width=2)
    same.load_state_dict(network.state_dict())
    assert network_hash(same) == network_hash(network.eval())
    hashes = {network_hash(network), network_hash(network.double())}
    hashes |= {network_hash(nn.Linear(2, 3).requires_grad_(False).bfloat16())}
    a, b = nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)
    b.weight.data = a.weight.data.reshape(2, 3)
    hashes |= {network_hash(a), network_hash(b), network_hash(nn.ModuleDict({"x": a}))}
    assert len(hashes) == 6
    assert network_hash(nn.BatchNorm2d(2)) == network_hash(nn.BatchNorm2d(2))
