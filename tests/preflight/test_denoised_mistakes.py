"""Mistakes with denoisers: each is one line that names the part at fault and the remedy."""

import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.jobs.parts import open_network
from lit_certattr.models import Denoised, SmallCNN, UNetDenoiser, load_network, load_state_dict, load_weights
from lit_certattr.modules import DenoiserTraining
from lit_certattr.smoothing import GaussianNoise


class Does(nn.Module):
    """Does something to the images."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, images):
        return self.what(images)


class NeedsSigma(nn.Module):
    def forward(self, images, sigma):
        return images


class Unknown(nn.Module):
    """Holds a weight that is NaN."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(torch.nan))

    def forward(self, images):
        return images * self.scale


def classifier():
    torch.manual_seed(0)
    return SmallCNN(image_size=8)


def certify(network, image=None):
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=20)
    return certifier(network, torch.rand(1, 1, 8, 8) if image is None else image, ids=["a"])


MISTAKES = {
    "bytes": (
        Does(lambda images: (images * 255).byte()),
        r"Does must return real numbers in \[0, 1\].* got torch.uint8: .* images.float\(\) / 255",
    ),
    "a mask": (Does(lambda images: images > 0.5), r"Does must return real numbers .* got torch.bool"),
    "complex": (Does(torch.fft.fft2), r"Does must return real numbers .* got torch.complex64"),
    "half the size": (Does(lambda images: images[..., ::2, ::2]), r"Does must return images .* got \[1, 1, 4, 4\]"),
    "a pair": (Does(lambda images: (images, images)), "Does must return images .* got tuple: .* the images alone"),
    "NaN": (Does(lambda images: images * torch.nan), "Does returns NaN or infinity for image a$"),
    "infinity": (Does(lambda images: images / 0), "Does returns NaN or infinity for image a$"),
    "a NaN weight": (Unknown(), "Unknown returns NaN or infinity for image a: weight scale holds NaN"),
    "sigma": (NeedsSigma(), r"'sigma'; .* use DenoiserAdapter\(denoiser, sigma=\.\.\.\)"),
    "float64": (UNetDenoiser(1, 4, 1).double(), r"several types \(float32, float64\): use model\.float\(\)"),
    "a classifier": (SmallCNN(image_size=8), r"looks like logits; the denoiser comes first, Denoised\(denoiser, net"),
    "random": (Does(lambda images: images + 0.1 * torch.rand_like(images)), "another result for the same image"),
    "dropout": (Does(lambda images: nn.functional.dropout(images, 0.3)), "another result for the same image"),
    "batch statistics": (nn.BatchNorm2d(1, track_running_stats=False), "'denoiser' has no running statistics"),
    "range of the batch": (Does(lambda images: images - images.amin()), "depends on the other images"),
    "in place": (Does(lambda images: images.clamp_(0, 0.5)), "changes its input in place"),
    "channels": (UNetDenoiser(3, 4, 1), "make it with channels=1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_denoiser_that_cannot_stand_in_front_is_named(mistake):
    denoiser, pattern = MISTAKES[mistake]
    with pytest.raises(InputError, match=pattern) as said:
        certify(Denoised(denoiser, classifier()))
    assert "\n" not in str(said.value)


def test_the_parts_in_the_wrong_order_are_named():
    with pytest.raises(InputError, match="the denoiser comes first"):
        certify(Denoised(classifier(), UNetDenoiser(1, 4, 1)))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager"), nn.Sequential])
def test_what_is_around_a_denoised_network_is_named(wrap):
    with pytest.raises(InputError, match="only if Denoised is the outermost module"):
        certify(wrap(Denoised(UNetDenoiser(1, 4, 1), classifier())))


def test_parts_may_be_wrapped_and_calculate_in_another_type():
    class Wide(nn.Module):
        def forward(self, images):
            return images.double()

    image, network = torch.rand(1, 1, 8, 8), classifier()
    expected = certify(network, image)[0]["pixel"].votes
    for denoiser in (Wide(), nn.DataParallel(nn.Identity()), torch.compile(nn.Identity(), backend="eager")):
        assert torch.equal(certify(Denoised(denoiser, network), image)[0]["pixel"].votes, expected)


def test_dropout_and_batch_normalisation_are_put_in_eval_mode_and_back():
    denoiser = nn.Sequential(nn.Dropout(0.3), nn.BatchNorm2d(1)).train()
    before = denoiser[1].running_mean.clone()
    certify(Denoised(denoiser, classifier()))
    assert denoiser[0].training
    assert torch.equal(denoiser[1].running_mean, before)


@pytest.mark.parametrize(
    "cut", [lambda images: images.detach(), lambda images: torch.from_numpy(images.numpy(force=True))]
)
def test_a_denoiser_without_a_gradient_needs_the_other_way_of_explaining(cut):
    with pytest.raises(InputError, match='its denoiser gives no gradient: use explain_at="denoised"'):
        certify(Denoised(Does(cut), classifier(), explain_at="image"))
    certify(Denoised(Does(cut), classifier()))


@pytest.mark.parametrize("weights", [True, 3, ["photographs"], {"weights": "photographs"}])
@pytest.mark.parametrize(
    "load",
    [
        lambda weights: UNetDenoiser(weights=weights),
        lambda weights: load_weights(nn.Linear(2, 2), weights),
        load_network,
        load_state_dict,
    ],
)
def test_weights_that_are_no_path_are_refused(load, weights):
    with pytest.raises(InputError, match="weights must be the path of a file, got"):
        load(weights)


def test_a_misspelt_name_of_packaged_weights_is_told_the_names():
    with pytest.raises(InputError, match=r"'photos' is neither a file nor .*: use photographs, or the path"):
        UNetDenoiser(weights="photos")


def test_a_training_refuses_them_alike():
    with pytest.raises(InputError, match=r"got torch\.bool"):
        DenoiserTraining(Does(lambda images: images > 0.5))(torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("prefix", ["", "net.", "module.net."])
def test_a_checkpoint_of_both_parts_fills_both(tmp_path, prefix):
    def network(width=4):
        return Denoised(UNetDenoiser(1, width, 1), SmallCNN(image_size=8))

    whole = network()
    nn.init.normal_(whole.denoiser.leave.weight)
    torch.save({"state_dict": {prefix + name: value for name, value in whole.state_dict().items()}}, tmp_path / "a.pt")
    found = open_network(network(), str(tmp_path / "a.pt"))
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in whole.state_dict().items())
    with pytest.raises(InputError, match=r"another shape for denoiser\.enter\.weight"):
        open_network(network(width=8), str(tmp_path / "a.pt"))
    torch.save(whole.network.state_dict(), tmp_path / "b.pt")
    fresh = network()
    assert torch.equal(
        open_network(fresh, str(tmp_path / "b.pt")).network.classifier.weight, whole.network.classifier.weight
    )
    assert not bool(fresh.denoiser.leave.weight.any())  # the classifier's weights only
