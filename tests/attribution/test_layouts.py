"""What passes at a layer becomes the right map, or is refused: channels first or last, tokens, windows, heads."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from lit_certattr.attribution import GradCAM, layer_pass
from lit_certattr.errors import InputError


def convnext():
    setting = torchvision.models.convnext.CNBlockConfig
    return torchvision.models.ConvNeXt([setting(16, 32, 1), setting(32, None, 1)], num_classes=5)


def swin():
    return torchvision.models.SwinTransformer([4, 4], 12, [2, 2], [2, 2], [7, 7], num_classes=5)


NETWORKS = {
    "torchvision convnext": convnext,
    "torchvision swin": swin,
    "timm convnext": lambda: timm.create_model("convnext_atto", num_classes=5, depths=(1, 1, 1, 1), conv_mlp=False),
    "timm maxvit": lambda: timm.create_model(
        "maxvit_rmlp_pico_rw_256", num_classes=5, depths=(1, 1), embed_dim=(32, 64)
    ),
    "timm mixer": lambda: timm.create_model("mixer_s32_224", num_classes=5, img_size=64),
    "timm vit": lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64, depth=2),
}


def hand_written(net, layer, images, targets, read):
    """Grad-CAM with a hook, told where rows, columns and channels are."""
    kept = {}
    hook = net.get_submodule(layer).register_forward_hook(lambda _, __, output: kept.__setitem__("f", output))
    score = net(images).gather(1, targets[:, None]).sum()
    hook.remove()
    features, gradient = (read(part) for part in (kept["f"], torch.autograd.grad(score, kept["f"])[0]))
    return (features * gradient.mean((2, 3), keepdim=True)).sum(1).detach()


READINGS = {
    "[B, C, h, w]": lambda t: t,
    "[B, h, w, C]": lambda t: t.permute(0, 3, 1, 2),
    "[B, T, C]": lambda t: t.transpose(1, 2).unflatten(2, (round(t.shape[1] ** 0.5), -1)),
    "[B, 1 + T, C]": lambda t: t[:, 1:].transpose(1, 2).unflatten(2, (round((t.shape[1] - 1) ** 0.5), -1)),
    "[B, C, T]": lambda t: t.unflatten(2, (round(t.shape[2] ** 0.5), -1)),
}


@pytest.mark.parametrize(
    ("family", "layer", "reading"),
    [
        ("torchvision convnext", "features.1.0.block.0", "[B, C, h, w]"),
        ("torchvision convnext", "features.1.0.block.2", "[B, h, w, C]"),
        ("torchvision convnext", "features.3.0.block.5", "[B, h, w, C]"),
        ("torchvision convnext", "features.2.0", "[B, C, h, w]"),
        ("torchvision swin", "features.0.0", "[B, C, h, w]"),
        ("torchvision swin", "features.1.0.mlp.1", "[B, h, w, C]"),
        ("torchvision swin", "features.2.norm", "[B, h, w, C]"),
        ("torchvision swin", "permute", "[B, C, h, w]"),
        ("timm convnext", "stages.3.blocks.0.mlp.fc1", "[B, h, w, C]"),
        ("timm convnext", "stages.3.blocks.0", "[B, C, h, w]"),
        ("timm maxvit", "stages.0.blocks.0.conv", "[B, C, h, w]"),
        ("timm maxvit", "stages.1.blocks.0.attn_grid", "[B, h, w, C]"),
        ("timm mixer", "blocks.0.mlp_tokens.fc2", "[B, C, T]"),
        ("timm mixer", "blocks.1.mlp_channels.fc1", "[B, T, C]"),
        ("timm vit", "blocks.0.mlp.fc1", "[B, 1 + T, C]"),
        ("timm vit", "blocks.0.attn.qkv", "[B, 1 + T, C]"),
    ],
)
def test_inner_layers_equal_a_grad_cam_written_by_hand(family, layer, reading):
    torch.manual_seed(0)
    net, targets = NETWORKS[family]().eval(), torch.tensor([0, 3])
    if "mixer" in family:
        nn.init.normal_(net.head.weight)  # timm starts it at zero
    images = torch.rand(2, 3, 256, 256) if "maxvit" in family else torch.rand(2, 3, 64, 64)
    expected = hand_written(net, layer, images, targets, READINGS[reading])
    found = GradCAM(layer=layer, relu=False, upsample=False)(net, images, targets)
    size = expected.abs().max()
    torch.testing.assert_close(found / size, expected / size, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        at = layer_pass(net, layer, images)
        torch.testing.assert_close(at.head(at.features.repeat(2, 1, 1, 1)), net(images).repeat(2, 1))


@pytest.mark.parametrize(
    ("family", "layer", "message"),
    [
        ("timm maxvit", "stages.0.blocks.0.attn_block.attn.qkv", "not a feature map"),  # windows in the batch
        ("timm mixer", "blocks.0.mlp_tokens.fc1", "neither 512 nor 256 tokens are a grid"),  # hidden units, no pixels
    ],
)
def test_what_is_no_map_is_refused(family, layer, message):
    torch.manual_seed(0)
    net = NETWORKS[family]().eval()
    images = torch.rand(2, 3, 256, 256) if "maxvit" in family else torch.rand(2, 3, 64, 64)
    with pytest.raises(InputError, match=message) as caught:
        layer_pass(net, layer, images)
    assert "\n" not in str(caught.value)


class Through(nn.Module):
    """Passes a tensor of a chosen shape through ``probe``, made of a convolution's output."""

    def __init__(self, rearrange, channels=8, stride=8, norm=None):
        super().__init__()
        self.conv, self.probe, self.rearrange = nn.Conv2d(3, channels, stride, stride), nn.Identity(), rearrange
        self.norm, self.linear = norm, nn.LazyLinear(2)

    def forward(self, images):
        out = self.probe(self.rearrange(self.conv(images)))
        return self.linear((out if self.norm is None else self.norm(out)).flatten(1))


def read_as(rearrange, images, **settings):
    """Whether the channels are read on the first axis (1) or the last (3)."""
    net = Through(rearrange, **settings).eval()
    net(images)
    at = layer_pass(net, "probe", images)
    held = net.rearrange(net.conv(images))
    return 1 if torch.equal(at.features, held) else 3 if torch.equal(at.features, held.permute(0, 3, 1, 2)) else None


@pytest.mark.parametrize("size", [(64, 64), (64, 32), (40, 72), (47, 65)])
@pytest.mark.parametrize("channels", [1, 3, 4, 5, 16])
def test_images_of_any_proportions(size, channels):
    images = torch.rand(2, 3, *size)
    assert read_as(lambda t: t, images, channels=channels) == 1
    rows, columns = size[0] // 8, size[1] // 8
    if (channels, rows) != (rows, columns):  # both readings fit: the test below
        assert read_as(lambda t: t.permute(0, 2, 3, 1), images, channels=channels) == 3


def test_as_many_channels_as_rows_and_columns_are_decided_by_the_layers_around():
    images = torch.rand(2, 3, 64, 64)
    assert read_as(lambda t: t, images) == 1  # no layer works on 8 channels of the last axis
    with pytest.raises(InputError, match=r"gives \(2, 8, 8, 8\), whose channels may be on axis 1 or on axis 3: name"):
        read_as(lambda t: t, images, norm=nn.LayerNorm(8))
    net = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.LayerNorm(8), nn.GELU(), nn.Flatten(), nn.Linear(512, 2)).eval()
    held = net[:2](images)
    torch.testing.assert_close(layer_pass(net, "1", images).features, held.permute(0, 3, 1, 2))
    torch.testing.assert_close(layer_pass(net, "0", images).features, net[0](images))


def test_scores_of_attention_heads_are_no_map():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_heads, self.softmax = 2, nn.Softmax(-1)

        def forward(self, tokens):
            parts = tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            return (self.softmax(parts @ parts.mT) @ parts).transpose(1, 2).flatten(2)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.attn, self.head = nn.Conv2d(3, 8, 8, 8), Attention(), nn.Linear(8, 2)

        def forward(self, images):
            return self.head(self.attn(self.conv(images).flatten(2).mT).mean(1))

    net, images = Net(), torch.rand(2, 3, 64, 64)
    with pytest.raises(InputError, match=r"gives \(2, 2, 64, 64\), one part for each of 2 attention heads"):
        layer_pass(net, "softmax", images)
    assert layer_pass(net, "attn", images).features.shape == (2, 8, 8, 8)


def test_a_convolution_with_other_strides_in_each_direction_is_read_as_written():
    net = nn.Sequential(nn.Conv2d(3, 4, (8, 2), (8, 2)), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 32, 2))
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(layer_pass(net, "0", images).features, net[0](images))
    torch.testing.assert_close(layer_pass(net, "1", images).features, net[:2](images))  # the grid was seen before
