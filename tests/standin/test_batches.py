"""The images of the loops get to an accelerator without making it wait; Lightning copies them."""

import torch
from lightning import LightningModule
from standin.device import NAME

from lit_certattr.data import Sample, collate


def test_a_batch_is_copied_without_waiting(device):
    images = torch.rand(2, 3, 4, 4)
    batch = collate([Sample(image, number, f"image-{number}") for number, image in enumerate(images)])
    device.waits.clear()
    device.copies.clear()
    moved = LightningModule().transfer_batch_to_device(batch, torch.zeros(1, device=NAME).device, 0)
    assert not device.waits
    assert sum(device.copies.values()) == 2, "images and targets, once each"
    assert torch.equal(moved.image.cpu(), images)
    assert moved.id == ["image-0", "image-1"]
