"""A method must be one fixed function of each image alone; what is not is found in a handful of passes."""

import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.models.modes import frozen
from lit_certattr.preflight import CHECKS, check_function
from lit_certattr.smoothing import GaussianNoise


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


class Method(Attribution):
    """Gradient, and something done to its maps."""

    def __call__(self, model, images, targets, create_graph=False):
        return self._change(Gradient()(model, images, targets), images)


def changed(change):
    """The method with a change of the test's own, which is no setting: a record could not name it."""
    method = Method()
    method._change = change
    return method


def check(change, model=None, name="image x"):
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    noisy = image + 0.1 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    model = model or net()
    with frozen(model), torch.no_grad():
        return check_function(model, changed(change), image, noisy, 1, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps, images: maps / maps.amax() * images.mean(), "depends on the other images of the batch"),
        (lambda maps, images: maps - maps.mean(0), "depends on the other images of the batch"),
        (lambda maps, images: maps + torch.rand_like(maps), "another result for the same image each time"),
        (lambda maps, images: maps[..., None], r"must return maps \[B, H, W\], got shape \[1, 8, 8, 1\]"),
        (lambda maps, images: maps[0], r"must return maps \[B, H, W\], got shape \[8, 8\]"),
        (lambda maps, images: maps.numpy(), "must return a real tensor of maps .* got ndarray"),
        (lambda maps, images: maps + 1j, "must return a real tensor of maps .* got torch.complex64"),
        (lambda maps, images: None, "must return a real tensor of maps .* got NoneType"),
        (lambda maps, images: maps / 0, "the Method map of image x holds NaN or infinity"),
        (lambda maps, images: maps[:, : 8 - len(maps)], "must return maps of one shape .* for all images"),
        (lambda maps, images: maps[:1], r"must return maps \[B, H, W\], got \[1, 8, 8\] for 5 images"),
        (lambda maps, images: maps[:, :0], r"must return maps \[B, H, W\]"),
        (lambda maps, images: maps * images.mul_(2)[:, 0], "Method changes the images .* in place"),
        (lambda maps, images: maps + missing, "Method cannot explain image x of shape .*NameError"),  # noqa: F821
    ],
)
def test_a_method_that_is_no_function_of_one_image_is_refused(change, message):
    with pytest.raises(InputError, match=message) as caught:
        check(change)
    assert "\n" not in str(caught.value)


def test_state_between_calls_is_found():
    kept = []

    def remembering(maps, images):
        kept.append(maps.mean())
        return maps + len(kept)

    with pytest.raises(InputError, match="another result for the same image each time"):
        check(remembering)


def test_what_is_found_is_returned():
    findings = check(lambda maps, images: maps)
    assert findings.map_shape == (8, 8)
    assert findings.repeated == 0
    assert findings.beside_others < 1e-4


def test_dropout_that_ignores_eval_mode_is_found():
    class Always(nn.Dropout):
        def forward(self, x):
            return nn.functional.dropout(x, self.p, training=True)

    model = net()
    model.insert(3, Always(0.1))
    with pytest.raises(InputError, match="remove the source of randomness"):
        check(lambda maps, images: maps, model)


def test_the_check_is_made_again_when_weights_change_and_not_before():
    calls = []

    def counting(maps, images):
        calls.append(len(images))
        return maps

    model, method = net(), changed(counting)
    run = Certifier(method, GaussianNoise(0.1), [PixelCertificate([0.25])], num_samples=64, batch_size=64)
    image = torch.rand(1, 1, 8, 8)
    run(model, image)
    first = len(calls)
    run(model, image)
    assert calls[first:] == [1, 64, 1, 1]  # the clean map, the samples, one of them alone, the clean map again
    with torch.no_grad():
        model[0].weight.mul_(0.5)
    run(model, image)
    assert len(calls) == 2 * first + 4


def undefined(maps, images):
    """Maps divided by the contrast of the image."""
    flat = images.flatten(1)
    return maps / (flat.amax(1) - flat.amin(1)).view(-1, 1, 1)


def test_a_map_that_is_not_finite_at_any_image_is_found_before_sampling():
    drawn = []
    images = torch.rand(3, 1, 8, 8)
    images[2] = 0.5
    run = Certifier(changed(undefined), GaussianNoise(0.1), [PixelCertificate([0.25])], num_samples=64)
    with pytest.raises(InputError, match="map of image c holds NaN or infinity"):
        run(net(), images, ids=["a", "b", "c"], on_block=drawn.append)
    assert drawn == []


def test_a_map_that_is_not_finite_is_found_in_an_image_that_comes_later():
    """As in a run, which certifies one image after the other."""
    drawn = []
    images = torch.rand(2, 1, 8, 8)
    images[1] = 0.5
    run = Certifier(changed(undefined), GaussianNoise(0.1), [PixelCertificate([0.25])], num_samples=64)
    model = net()
    run(model, images[:1], ids=["a"])
    with pytest.raises(InputError, match="map of image b holds NaN or infinity"):
        run(model, images[1:], ids=["b"], on_block=drawn.append)
    assert drawn == []


def test_results_say_what_was_checked():
    run = Certifier(Gradient(), GaussianNoise(0.1), [PixelCertificate([0.25])], num_samples=64)
    result = run(net(), torch.rand(1, 1, 8, 8))[0]["pixel"]
    assert result.sampling["preflight"] == list(CHECKS)


def test_the_votes_are_those_of_a_loop_without_checks():
    """Nothing that is found before the sampling may change it."""
    torch.manual_seed(0)
    model, image = net(), torch.rand(1, 1, 8, 8)
    run = Certifier(Gradient(), GaussianNoise(0.1), [PixelCertificate([0.25])], num_samples=96, batch_size=32)
    result = run(model, image, [1], ["x"])[0]["pixel"]
    votes = torch.zeros(8, 8)
    with frozen(model), torch.no_grad():
        for block in run.blocks(model, image[0], 1, "x", 0, 96):
            votes += block.votes(16)
    assert torch.equal(result.votes[0].float(), votes)


class TurnsTheBatchAround(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, images):
        return self.net(images.flip(0))


def test_network_that_turns_the_batch_around():
    with pytest.raises(InputError, match="depends on the other images"):
        check(lambda maps, _: maps, TurnsTheBatchAround())
