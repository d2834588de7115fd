"""Networks that cannot be certified, each refused in one line that says what to do; nothing is sampled."""

import sys
import warnings

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from lit_certattr import Certifier, certify
from lit_certattr.attribution import LIME, RISE, AblationCAM, GradCAM, Gradient, Occlusion, ScoreCAM
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.preflight import check_network, logits_of
from lit_certattr.smoothing import GaussianNoise


def cnn(channels=3, classes=5):
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(128, classes)).eval()


class Wrapped(nn.Module):
    """A network around another; its forward is a function of that network and the images."""

    def __init__(self, forward, net=None):
        super().__init__()
        self.net, self._forward = net or cnn(), forward

    def forward(self, images):
        return self._forward(self.net, images)


class Output(dict):
    """As libraries return it."""

    logits = property(lambda self: self["logits"])


def normalised(running):
    """A network with batch normalisation, with running statistics or without."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8, track_running_stats=running)
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(1568, 3)).eval()


def images(count=1, channels=3):
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(1))


def certifier(attribution=None, **settings):
    settings = {"num_samples": 100, "batch_size": 32} | settings
    return Certifier(attribution or Gradient(), GaussianNoise(0.1), [PixelCertificate(top_k=[0.25])], **settings)


def refusal(net, batch=None, attribution=None):
    """The one line with which a certifier refuses a network, before any sample."""
    drawn = []
    with pytest.raises(InputError) as caught:
        certifier(attribution)(net, images() if batch is None else batch, on_block=drawn.append)
    assert drawn == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Mute(Exception):
    """It cannot say what is wrong."""

    def __str__(self):
        raise ZeroDivisionError


def fails(error):
    def forward(net, x):
        raise error

    return forward


class TakesTwo(nn.Module):
    def forward(self, images, metadata):
        return images.mean((2, 3)) + metadata


class OwnTrain(nn.Module):
    """It overrides train() without its argument, as sketches of networks with dropout do."""

    def train(self):
        return self


class TrainsItself(nn.Module):
    """Its forward uses the statistics of the batch, whatever the mode of the network."""

    def __init__(self):
        super().__init__()
        self.net = normalised(True)

    def forward(self, images):
        return self.net.train()(images)


def alone_in_its_batch():
    """Batch normalisation without statistics that has one number of each channel."""
    normalisation = nn.BatchNorm1d(3 * 16 * 16, track_running_stats=False)
    return nn.Sequential(nn.Flatten(), normalisation, nn.Linear(3 * 16 * 16, 5)).eval()


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (lambda batch: cnn()(batch), ["torch.nn.Module", "call it in the forward method of a module of your own"]),
        (nn.Linear, ["got the class Linear: create one, Linear(...)"]),
        (cnn().state_dict(), ["create the network and load_state_dict into it"]),
        (None, ["torch.nn.Module, got 'NoneType'"]),
        (cnn().to("meta"), ["weight 0.weight has no values"]),
        (Wrapped(lambda net, x: (net(x), x)), ["got tuple of 2", "network(images)[0]"]),
        (Wrapped(lambda net, x: [net(x)]), ["got list of 1", "network(images)[0]"]),
        (Wrapped(lambda net, x: {"logits": net(x)}), ["got dict (logits)", "network(images)['logits']"]),
        (Wrapped(lambda net, x: Output(logits=net(x))), ["got Output (logits)", "network(images).logits"]),
        (Wrapped(lambda net, x: None), ["got NoneType", "end its forward with return"]),
        (Wrapped(lambda net, x: {"a": net(x), "b": net(x)}), ["got dict (a, b)", "network(images)['a']"]),
        (Wrapped(lambda net, x: net(x)[None]), ["got shape (1, 1, 5)", "one row of logits per image"]),
        (Wrapped(lambda net, x: net(x.detach())), ["through a graph; look for detach(), torch.no_grad()"]),
        (Wrapped(lambda net, x: (net(x) * 100).long()), ["whole numbers", "a method without gradients, e.g. RISE()"]),
        (Wrapped(lambda net, x: net(x["image"])), ["it takes a dictionary", "passes {'image': images}"]),
        (TakesTwo(), ["its forward takes (images, metadata): call it in a module whose forward takes"]),
        (Wrapped(lambda net, x: net(net[0](x).relu_().mul_(2)[:, :3])), ["write y = y * 2 in place of y *= 2"]),
        (OwnTrain(), ["OwnTrain cannot be put in eval mode: TypeError", "drop that method"]),
        (alone_in_its_batch(), ["normalisation '1' has no running statistics"]),
        (TrainsItself(), ["layer 'net' is in training mode again, its forward must not call train()"]),
        (Wrapped(lambda net, x: net(x)[0]), ["got shape (5,)"]),
        (Wrapped(lambda net, x: net(x).repeat(2, 1)), ["one row per image, got [2, 5] for 1 images"]),
        (Wrapped(lambda net, x: net(x) + 1j), ["complex64", "return real"]),
        (Wrapped(lambda net, x: net(x) / 0), ["NaN or infinite logits for image 0"]),
        (cnn(classes=1), ["one logit s", "torch.cat([-s, s], dim=1)"]),
        (Wrapped(lambda net, x: net(x)[:, :0]), ["returns no logits"]),
        (Wrapped(fails(ValueError("expected 224 x 224\npixels"))), ["ValueError: expected 224 x 224 pixels"]),
        (Wrapped(fails(AssertionError())), ["AssertionError: no message"]),
        (Wrapped(fails(KeyError("x"))), ["KeyError: 'x'"]),
        (Wrapped(fails(Mute())), ["Mute: no message"]),
        (Wrapped(fails(OSError("\x1b[2Kfine\x07"))), ["OSError: ?[2Kfine?"]),
        (cnn().double(), ["RuntimeError", "the weights are float64 and the images float32: use model.float()"]),
        (cnn(channels=1), ["its first convolution takes 1 channels, the images have 3"]),
        (Wrapped(lambda net, x: net(nn.functional.dropout(x, 0.5))), ["another result for the same image each time"]),
        (Wrapped(lambda net, x: net(x.sub_(0.5).div_(0.25))), ["changes its input in place", "x = x - mean"]),
        (Wrapped(lambda net, x: net(x.data.sub_(0.5))), ["changes its input in place"]),
        (Wrapped(lambda net, x: net(x.clamp_(0, 1))), ["changes its input in place"]),
        (normalised(False), ["depends on the other images of the batch", "normalisation '1' has no running stat"]),
        (Wrapped(lambda net, x: net(x - x.mean())), ["depends on the other images", "look for statistics over the b"]),
        (Wrapped(lambda net, x: net(x) + x.mean((0, 2, 3), keepdim=True).sum()), ["depends on the other images"]),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_certified_is_refused_in_one_line(net, words):
    line = refusal(net)
    for part in words:
        assert part in line


def test_lazy_layers_that_have_seen_no_image_are_named():
    line = refusal(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))
    assert "the lazy layer '1' does not know its size yet: pass one image through the network first" in line


def test_batch_normalisation_with_running_statistics_is_no_fault():
    assert certifier()(normalised(True), images())


def test_a_network_that_fails_on_noise_alone_is_refused_before_sampling():
    def in_range(net, x):
        assert float(x.detach().min()) >= 0, "pixels must not be negative"
        return net(x)

    assert "cannot take noisy copies of image 0" in refusal(Wrapped(in_range))


def test_a_network_that_fails_later_ends_in_one_line():
    calls = []

    def tired(net, x):
        calls.append(1)
        if len(calls) > 12:
            raise RuntimeError("the licence server is gone")
        return net(x)

    with pytest.raises(InputError, match=r"of 1000 samples: .*RuntimeError: the licence server is gone"):
        certifier(num_samples=1000, batch_size=16)(Wrapped(tired), images())


def test_weights_that_are_not_finite_are_named():
    net = cnn()
    net[4].bias.data[2] = torch.nan
    assert "weight 4.bias holds NaN or infinity" in refusal(net)


def test_images_with_channels_last_get_the_remedy():
    with pytest.raises(InputError, match=r"if the images are \[H, W, C\], use permute\(2, 0, 1\)"):
        certify(cnn(), images()[0].permute(1, 2, 0), num_samples=100)


METHODS = (
    Occlusion(window=4, stride=4),
    RISE(num_masks=32, cells=4),
    LIME(num_samples=32),
    ScoreCAM(layer="net.0"),
    AblationCAM(layer="net.0"),
    GradCAM(layer="net.0"),
    Gradient(),
)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_an_input_changed_in_place_never_reaches_the_caller(method):
    """Otherwise a quarter to nine tenths of the claims were false, and the caller's image was overwritten."""
    mine = images()
    assert "in place" in refusal(Wrapped(lambda net, x: net(x.sub_(0.5).div_(0.25))), mine, method)
    assert torch.equal(mine, images())


@pytest.mark.parametrize("method", METHODS[:-1], ids=lambda method: type(method).__name__)
def test_a_method_on_its_own_leaves_the_images_alone_and_its_map_is_right(method):
    mine, target = images(), torch.tensor([1])
    found = method(Wrapped(lambda net, x: net(x.sub_(0.5).div_(0.25))), mine, target)
    assert torch.equal(mine, images())
    expected = method(Wrapped(lambda net, x: net((x - 0.5) / 0.25)), images(), target)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.freeze(torch.jit.script(net))])
def test_scripted_networks_are_certified_like_the_original(make):
    found = certifier()(make(cnn()), images())[0]["pixel"]
    expected = certifier()(cnn(), images())[0]["pixel"]
    assert float((found.votes != expected.votes).float().mean()) < 0.05  # fused kernels round in another way
    assert found.shares()["certified"].tolist() == pytest.approx(expected.shares()["certified"].tolist(), abs=0.05)


def test_what_a_batch_norm_of_weights_does_is_no_fault():
    """Weight standardisation calls batch_norm on the weights: nothing of it depends on other images."""

    class Standardised(nn.Conv2d):
        def forward(self, x):
            rows = self.weight.reshape(1, self.out_channels, -1)
            weight = nn.functional.batch_norm(rows, None, None, training=True).reshape(self.weight.shape)
            return nn.functional.conv2d(x, weight, self.bias)

    net = nn.Sequential(Standardised(3, 8, 3), nn.InstanceNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 3))
    assert certifier()(net, images())


def test_logits_do_not_touch_the_images():
    mine = images(2)
    kept = mine.clone()
    with pytest.raises(InputError, match="in place"):
        logits_of(Wrapped(lambda net, x: net(x.mul_(2))), mine)
    assert torch.equal(mine, kept)


def test_a_network_that_is_fine_passes_as_it_is():
    net = cnn()
    assert check_network(net) is net
    assert logits_of(net, images(2)).shape == (2, 5)


def test_logits_that_are_true_or_false():
    class Decides(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :3] > 0.5

    with pytest.raises(InputError, match="logits of torch"):
        logits_of(Decides(), torch.rand(1, 3, 4, 4))


def test_weights_made_under_inference_mode():
    with torch.inference_mode():
        made = nn.Linear(4, 2)
    with pytest.raises(InputError, match="weight weight was made under"):
        check_network(made)


# --- what a network does beside returning logits ---------------------------------------------------------------


class Does(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.does = forward
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def forward(self, images):
        return self.does(self.net, images)


def leave(net, images):
    sys.exit(0)


def leave_on_noise(net, images):
    return net(images) if images.amax() <= 1 else sys.exit()


def single(net, images):
    return net(images.view(1, 1, 8, 8))


def first_alone(net, images):
    return net(images[:1])


def two_at_most(net, images):
    return net(images.view(1, 1, 8, 8) if len(images) != 2 else images)


def run(network):
    run = Certifier(Gradient(), GaussianNoise(0.3), [PixelCertificate([0.25])], num_samples=64, batch_size=16)
    return run(network.eval(), torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("forward", [leave, leave_on_noise])
def test_a_forward_that_ends_the_program(forward):
    with pytest.raises(InputError, match=r"SystemExit: .*; its forward calls sys.exit\(\)") as caught:
        run(Does(forward))
    assert "\n" not in str(caught.value)


def test_a_forward_that_ends_the_program_in_the_middle_of_the_sampling():
    calls = []

    def later(net, images):
        calls.append(len(images))
        return net(images) if len(calls) < 12 else sys.exit(0)

    with pytest.raises(InputError, match=r"after \d+ of 64 samples: .*its forward calls sys.exit\(\)"):
        run(Does(later))


def test_a_signal_during_a_forward_is_no_fault_of_the_network():
    class Stopped(SystemExit):
        """As lit_certattr.cli.signals raises it."""

    def stopped(net, images):
        raise Stopped(143)

    with pytest.raises(Stopped):
        run(Does(stopped))


@pytest.mark.parametrize("forward", [single, first_alone, two_at_most])
def test_a_network_that_takes_one_image_at_a_time(forward):
    with pytest.raises(InputError, match=r"torch.cat\(\[network\(image\) for image in images.split\(1\)\]\)") as caught:
        run(Does(forward))
    assert "\n" not in str(caught.value)


def test_the_remedy_for_a_network_that_takes_one_image_at_a_time_works():
    class Split(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            return torch.cat([self.network(image) for image in images.split(1)])

    direct = run(Does(lambda net, images: net(images)))[0]["pixel"]
    assert torch.equal(run(Split(Does(single)))[0]["pixel"].votes, direct.votes)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda logits: logits[:, :, None, None], r"network\(images\).flatten\(1\)"),
        (lambda logits: logits[:, :, None], r"network\(images\).flatten\(1\)"),
        (lambda logits: logits[:, :, None, None].expand(-1, -1, 4, 4), r"pool .* network\(images\).mean\(\(2, 3\)\)"),
        (lambda logits: logits.squeeze(), r"without squeeze\(\)"),
        (lambda logits: logits.sum(), r"without squeeze\(\)"),
    ],
)
def test_logits_of_other_dimensions(change, remedy):
    with pytest.raises(InputError, match=rf"must return logits \[B, num_classes\], got shape .*: .*{remedy}"):
        run(Does(lambda net, images: change(net(images))))


def test_a_default_device_is_refused_before_anything_is_made_there():
    net, batch = cnn(), images()
    with torch.device("meta"), pytest.raises(InputError, match=r"call torch.set_default_device\(None\)"):
        certifier()(net, batch)


def test_an_exported_network_has_no_eval_mode():
    net = torch.export.export(cnn(), (images(),)).module()
    assert "use the network from before torch.export" in refusal(net)


def test_a_network_of_lightning_fabric_that_guards_its_gradients():
    net = Fabric(accelerator="cpu", precision="bf16-mixed").setup(cnn())
    assert "network.module" in refusal(net)


def test_dynamic_quantisation_mixes_the_images_of_a_batch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still in use
        net = torch.ao.quantization.quantize_dynamic(cnn(), {nn.Linear})
    assert "dynamic quantisation scales by all images" in refusal(net, attribution=RISE(num_masks=32, cells=4))
