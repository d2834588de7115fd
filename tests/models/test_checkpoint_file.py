"""What is no checkpoint is named; what would fill the memory is not read."""

import os
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.models import load_weights


def refusal(path, network=None) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(network or nn.Linear(2, 3), path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FILES = {
    "an empty file": b"",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "a web page": b"\xef\xbb\xbf\n <!DOCTYPE html><html>",
    "web page": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JSON": b'{"error": "not found"}',
    "gzip": b"\x1f\x8b\x08" + bytes(20),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(20),
    "damaged": b"hello",
}


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("kind", FILES)
def test_other_files_are_named(tmp_path, kind, name):
    (tmp_path / name).write_bytes(FILES[kind])
    assert kind in refusal(tmp_path / name)


def test_archives_are_named(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.ones(2))
    assert "zip archive of a.npy" in refusal(tmp_path / "weights.npz")
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        archive.write(tmp_path / "weights.pth", "weights.pth")
    assert "unpack it first" in refusal(tmp_path / "weights.zip")
    with tarfile.open(tmp_path / "weights.tar", "w") as archive:
        archive.add(tmp_path / "weights.pth", "pickle")
    assert "tar format of PyTorch 0.1" in refusal(tmp_path / "weights.tar")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("script/data.pkl", "script/constants.pkl", "script/code/__torch__.py"):
            archive.writestr(name, b"")
    assert "TorchScript" in refusal(tmp_path / "script.pt")


def test_weights_whose_bits_have_changed_are_not_loaded(tmp_path):
    """torch.load compares no checksum: one flipped bit in a weight would give another network, in silence."""
    path, network = tmp_path / "weights.pth", nn.Linear(2, 3)
    torch.save(network.state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        place = next(one for one in archive.infolist() if one.filename.endswith("data/0"))
    weights = network.weight.detach().numpy().tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(weights)] ^= 1
    path.write_bytes(content)
    assert f"damaged: the checksum of {place.filename}" in refusal(path)


def test_archives_without_checksums_are_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "weights.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    load_weights(nn.Linear(2, 3), tmp_path / "weights.pth")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "it is a folder" in refusal(tmp_path)
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert "it is no ordinary file" in refusal(path)
    for path in (tmp_path / "none", f"{tmp_path}/a\0b"):
        assert "there is no such file" in refusal(path)
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))


def test_content_decides_not_the_suffix(tmp_path):
    saved = nn.Linear(2, 3)
    save_file(saved.state_dict(), tmp_path / "weights.pth")
    torch.save(saved.state_dict(), tmp_path / "weights.safetensors")
    torch.save(saved.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("weights.pth", "weights.safetensors", "old.pth"):
        loaded = nn.Linear(2, 3)
        load_weights(loaded, tmp_path / name)
        assert torch.equal(loaded.weight, saved.weight)


def test_headers_of_absurd_length_are_not_read(tmp_path):
    for length in (2**40, 2**63):
        (tmp_path / "weights.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
        assert f"its header says {length:,} bytes" in refusal(tmp_path / "weights.safetensors")
    (tmp_path / "weights.safetensors").write_bytes(struct.pack("<Q", 10) + b'{"a": 3}  ')
    assert "damaged" in refusal(tmp_path / "weights.safetensors")


def test_archives_are_measured_before_they_are_unpacked(tmp_path, monkeypatch):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "weights.pth", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data/9", bytes(40_000_000))

    def unpack(*args, **kwargs):
        raise AssertionError("was unpacked")

    monkeypatch.setattr(torch, "load", unpack)
    assert "would unpack from 0.0 MB to 40.0 MB" in refusal(tmp_path / "weights.pth")


def test_files_out_of_proportion_to_the_network_are_not_read(tmp_path, monkeypatch):
    with (tmp_path / "weights.pth").open("wb") as file:
        file.truncate(10**12)  # takes no space on the disk
    monkeypatch.setattr(torch, "load", None)
    assert "holds 1,000,000.0 MB, but the network only 0.0 MB" in refusal(tmp_path / "weights.pth")


class AsksForMemory:
    def __reduce__(self):
        return (bytearray, (2**62,))


def test_objects_of_absurd_size_are_refused(tmp_path):
    torch.save({"state_dict": nn.Linear(2, 3).state_dict(), "x": AsksForMemory()}, tmp_path / "weights.pth")
    assert "more memory than is available" in refusal(tmp_path / "weights.pth")


def test_weights_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = nn.Linear(2, 3)
    torch.save(given.state_dict(), tmp_path / "weights.pth")
    load_weights(loaded := nn.Linear(2, 3), "~/weights.pth")
    assert torch.equal(loaded.weight, given.weight)
