"""``layer="final"`` of many architectures: where it is, and that it is what the library calls the last features."""

import pytest
import timm
import torch
import torchvision

from lit_certattr.attribution import layer_pass, layers
from lit_certattr.attribution.places import find_place
from lit_certattr.errors import InputError

TORCHVISION = {
    "alexnet": "features.11",
    "convnext_tiny": "features",
    "densenet121": "features",  # and the ReLU after it
    "efficientnet_b0": "features",
    "efficientnet_v2_s": "features",
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "maxvit_t": "blocks.3",
    "mnasnet0_5": "layers",
    "mobilenet_v2": "features",
    "mobilenet_v3_small": "features",
    "regnet_x_400mf": "trunk_output",
    "regnet_y_400mf": "trunk_output",
    "resnet18": "layer4",
    "resnext50_32x4d": "layer4",
    "shufflenet_v2_x0_5": "conv5",
    "squeezenet1_1": "features",
    "swin_t": "permute",
    "swin_v2_t": "permute",
    "vgg11_bn": "features.27",
    "vit_b_32": "encoder.layers.encoder_layer_11",  # enters it
}
# What forward_features gives; of timm.
TIMM = (
    *("botnet26t_256", "caformer_s18", "coatnet_pico_rw_224", "convformer_s18"),
    *("convmixer_768_32", "convnext_atto", "convnextv2_atto", "cspresnet50", "darknet53", "davit_tiny"),
    *("densenet121", "dla34", "dpn48b", "edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0"),
    *("efficientnet_b0", "efficientvit_m0", "ese_vovnet19b_dw", "eva02_tiny_patch14_224", "fasternet_t0"),
    *("fastvit_t8", "focalnet_tiny_srf", "gernet_s", "ghostnet_050", "ghostnetv3_050", "gmlp_ti16_224", "halonet26t"),
    *("hardcorenas_a", "hgnet_tiny", "hiera_tiny_224", "hrnet_w18_small", "inception_next_tiny"),
    *("inception_resnet_v2", "inception_v4", "lcnet_035", "legacy_xception", "levit_128s", "mambaout_femto"),
    *("maxvit_pico_rw_256", "mixer_s32_224", "mnasnet_small", "mobileone_s0", "mobilenetv3_small_050"),
    *("mobilenetv4_conv_small", "mobilevit_xxs", "mvitv2_tiny", "nest_tiny", "nextvit_small", "nfnet_l0"),
    *("poolformer_s12", "pvt_v2_b0", "rdnet_tiny", "regnetx_002", "repghostnet_050", "repvgg_a0", "repvit_m0_9"),
    *("res2net50_14w_8s", "resmlp_12_224", "resnet18", "resnetv2_50", "rexnet_100", "seresnet18", "shvit_s1"),
    *("skresnet18", "starnet_s1", "swiftformer_xs", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_224"),
    *("tinynet_e", "tiny_vit_5m_224", "twins_pcpvt_small", "twins_svt_small"),
    *("visformer_tiny", "volo_d1_224", "vovnet39a", "xception41", "nasnetalarge"),
)
# Patches that still matter, where a class token is selected later; or a head that has convolutions of its own.
TIMM_ELSEWHERE = {
    "cait_xxs24_224": "blocks",
    "convit_tiny": "blocks.10",
    "deit_tiny_distilled_patch16_224": "blocks.11",  # enters it
    "deit_tiny_patch16_224": "blocks.11",
    "efficientvit_b0": "head.in_conv",
    "pit_ti_224": "transformers.2.blocks.2",
    "selecsls42": "head",
    "vgg11": "features.19",
    "vit_tiny_patch16_224": "blocks.11",
    "vitamin_small_224": "blocks.13",
    "xcit_nano_12_p16_224": "cls_attn_blocks.0",
}
TIMM_REFUSED = ("coat_tiny", "crossvit_9_240", "pit_ti_distilled_224", "tnt_s_legacy_patch16_224")  # several paths
# Images are small, which does not change where the final layer is: of 64 pixels, but for networks that do not take
# them, or whose final map would be a single pixel.
SIZES = {"efficientformer_l1": 224, "halonet26t": 256, "shvit_s1": 224, "vit_b_32": 224}
SIZES |= {"inception_v3": 160, "inception_v4": 128, "inception_resnet_v2": 128, "selecsls42": 128, "nasnetalarge": 96}
SIZES |= {"efficientvit_m0": 224, "crossvit_9_240": 240, "levit_128s": 224}
SIZED = (  # those that must be told when they are built
    *("botnet26t_256", "cait_xxs24_224", "coat_tiny", "coatnet_pico_rw_224", "convit_tiny", "deit_tiny_patch16_224"),
    *("deit_tiny_distilled_patch16_224", "efficientformerv2_s0", "eva02_tiny_patch14_224", "gmlp_ti16_224"),
    *("hiera_tiny_224", "maxvit_pico_rw_256", "mixer_s32_224", "nest_tiny", "pit_ti_224"),
    *("pit_ti_distilled_224", "resmlp_12_224", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_224"),
    *("tnt_s_legacy_patch16_224", "visformer_tiny", "vit_tiny_patch16_224", "vitamin_small_224", "volo_d1_224"),
)
NARROW = {"nasnetalarge": {"stem_size": 24, "num_features": 288}, "vgg11": {"mlp_ratio": 0.05}}
FAST = ("mobilenet_v3_small", "regnetx_002", "mobilenetv3_small_050")


def built(library, name):
    """A random network, and images that it takes."""
    torch.manual_seed(0)
    size = SIZES.get(name, 64)
    if name == "maxvit_t":
        net = torchvision.models.MaxVit(
            (64, 64), 16, partition_size=2, block_channels=[16] * 4, block_layers=[1] * 4, head_dim=8,
            stochastic_depth_prob=0.0, num_classes=5,
        )  # fmt: skip
    elif library == "torchvision":
        plain = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        net = torchvision.models.get_model(name, weights=None, num_classes=5, **plain)
    else:
        options = NARROW.get(name, {}) | ({"img_size": size} if name in SIZED else {})
        net = timm.create_model(name, num_classes=5, **options)
    return net.eval(), torch.rand(2, 3, size, size)


CASES = [("torchvision", name) for name in TORCHVISION] + [("timm", name) for name in (*TIMM, *TIMM_ELSEWHERE)]


@pytest.mark.parametrize(
    ("library", "name"),
    [pytest.param(*case, marks=() if case[1] in FAST else pytest.mark.slow) for case in CASES],
)
def test_the_final_layer(library, name, monkeypatch):
    net, images = built(library, name)
    places = []
    monkeypatch.setattr(layers, "find_place", lambda *args: places.append(find_place(*args)) or places[-1])
    with torch.no_grad():
        at = layer_pass(net, "final", images)
        assert min(at.features.shape[2:]) > 1
        torch.testing.assert_close(at.head(at.features), net(images), rtol=1e-3, atol=1e-4)
        where = places[0].around.name
        if library == "torchvision":
            assert where == TORCHVISION[name]
        elif name in TIMM_ELSEWHERE:
            assert where == TIMM_ELSEWHERE[name]
        else:
            known = readings(net, images, at.features.shape)
            assert any(torch.allclose(at.features, features, atol=1e-4) for features in known)


def readings(net, images, shape):
    """What ``forward_features`` gives, as ``[B, C, h, w]``, in all ways that have this shape."""
    features = net.forward_features(images)
    if features.ndim == 3:
        patches = features[:, features.shape[1] - shape[2:].numel() :]
        return [patches.transpose(1, 2).unflatten(2, shape[2:])]
    return [part for part in (features, features.permute(0, 3, 1, 2)) if part.shape == shape]


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM_REFUSED)
def test_several_paths_are_refused_in_one_line(name):
    net, images = built("timm", name)
    with pytest.raises(
        InputError, match=r"the logits do not depend on '.*' alone\): name one of its modules"
    ) as caught:
        layer_pass(net, "final", images)
    assert "\n" not in str(caught.value)
