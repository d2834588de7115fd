"""A class that the noise of the certificates helped to choose, or that another machine would not find again."""

import attrs
import pytest
import torch
from torch import nn

from lit_certattr import Certifier, certify
from lit_certattr.attribution import LRP, GradCAM, Gradient, InputXGradient, Occlusion
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.models import Denoised, SmallCNN
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, normal_stream

CERTIFICATE = PixelCertificate([0.5], alpha=0.05)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return SmallCNN(image_size=8, width=4).eval()


@pytest.fixture(scope="module")
def images():
    return (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(5)) * 255).round() / 255


def certifier(num_samples=40, batch_size=16, attribution=None, noise=None, **settings):
    noise = noise or GaussianNoise(0.5)
    return Certifier(attribution or Gradient(), noise, [CERTIFICATE], num_samples, batch_size, **settings)


def majority(certifier, net, images, ids=None):
    results = certifier(net, images, "noisy_majority", ids)
    return [(one["pixel"].sampling["target"], one["pixel"].sampling["class_votes"]) for one in results]


def by_hand(net, image, image_id, count=100, seed=0, sigma=0.5):
    """From the definition: every copy on its own, normals of a key of its own."""
    z = normal_stream(seed, f"{image_id}\x00class", "cpu").fill_(torch.empty(count, image.numel()), 0)
    with torch.no_grad():
        votes = [int(net((image + sigma * row.view_as(image))[None]).argmax()) for row in z]
    best = max(range(10), key=lambda label: (votes.count(label), -label))
    return best, votes.count(best)


def test_the_class_is_the_majority_of_the_declared_copies(net, images):
    found = majority(certifier(), net, images, ["a", "b", "c"])
    assert found == [by_hand(net, image, name) for image, name in zip(images, "abc", strict=True)]
    few = majority(certifier(class_samples=7), net, images[:1], ["a"])
    assert few == [by_hand(net, images[0], "a", count=7)]


def test_no_copy_that_chooses_the_class_is_one_that_votes(images):
    class Seen(nn.Module):
        """Keeps what it gets."""

        def __init__(self):
            super().__init__()
            self.head, self.rows = nn.Linear(64, 10), []

        def forward(self, images):
            self.rows += [tuple(row) for row in images.detach().flatten(1).tolist()]
            return self.head(images.flatten(1))

    torch.manual_seed(0)
    net, copies = Seen().eval(), {}
    for rule in (None, "noisy_majority"):
        net.rows.clear()
        certifier(num_samples=60)(net, images[:1], rule, ["a"])
        copies[rule] = set(net.rows)
    chosen = copies["noisy_majority"] - copies[None]
    assert len(chosen) == 100  # the copies of the choice, none of which the certificates saw
    z = [normal_stream(0, name, "cpu").fill_(torch.empty(200, 64), 0) for name in ("a", "a\x00class")]
    correlation = (z[0] * z[1]).mean(1).abs().max()
    assert float(correlation) < 5.5 / 8  # of 200 means of 64 products


def test_votes_are_those_of_the_same_class_given_by_hand(net, images):
    results = certifier()(net, images, "noisy_majority", ["a", "b", "c"])
    classes = [one["pixel"].sampling["target"] for one in results]
    given = certifier()(net, images, classes, ["a", "b", "c"])
    for one, two in zip(results, given, strict=True):
        assert torch.equal(one["pixel"].votes, two["pixel"].votes)
        assert one["pixel"].num_predicted == two["pixel"].num_predicted
        assert one["pixel"].sampling["target_rule"] == "noisy_majority"
        assert one["pixel"].sampling["class_samples"] == 100
        assert not {"class_samples", "class_votes", "class_generator"} & two["pixel"].sampling.keys()


@pytest.mark.parametrize("batch_size", [1, 7, 100, "auto"])
def test_batches_order_layout_and_other_seeds_of_the_votes_do_not_matter(net, images, batch_size):
    expected = majority(certifier(), net, images, ["a", "b", "c"])
    assert majority(certifier(batch_size=batch_size), net, images.flip(0), ["c", "b", "a"]) == expected[::-1]
    again = certifier(memory_format="contiguous", num_samples=60, seed=9)
    assert majority(again, net, images, ["a", "b", "c"]) != expected
    again.class_seed = 0
    assert majority(again, net, images, ["a", "b", "c"]) == expected


def test_of_equal_numbers_the_first_class_is_chosen(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([torch.ones(64), -torch.ones(64)]))
    grey = images[:1] * 0  # on the border between both classes
    found = [majority(certifier(class_samples=2), net, grey, [str(name)])[0] for name in range(40)]
    assert set(found) == {(0, 1), (0, 2), (1, 2)}  # never class 1 with one of two votes


@pytest.mark.parametrize("worst", [torch.nan, torch.inf, -torch.inf])
def test_copies_without_a_class_do_not_vote(images, worst):
    class Bright(nn.Module):
        """Has a logit that is not finite for noise whose sum is negative; sees class 1 otherwise."""

        def forward(self, images):
            total = images.flatten(1).sum(1)
            return torch.stack([torch.where(total < 0, worst, 0.0), total.abs() + 1], 1)

    ((target, votes),) = majority(certifier(), Bright(), images[:1] * 0 + 0.001, ["a"])
    assert target == 1
    assert 30 < votes < 70

    class Undecided(nn.Module):
        def forward(self, images):
            clean = (images >= 0).flatten(1).all(1) & (images <= 1).flatten(1).all(1)
            return torch.stack([images.flatten(1).sum(1), images.flatten(1).sum(1) + clean], 1)

    with pytest.raises(InputError, match=r"image a: none of its 100 noisy copies is predicted as one class.*sigma"):
        certifier()(Undecided(), images[:1], "noisy_majority", ["a"])


@pytest.mark.parametrize("method", [Gradient(), InputXGradient(), GradCAM(), LRP(), Occlusion(window=4, stride=4)])
def test_the_class_is_that_of_the_certified_function_for_every_method(net, images, method):
    class Negative(nn.Module):
        def forward(self, images):
            return 1 - images

    together = Denoised(Negative(), net).eval()
    ((target, votes),) = majority(certifier(attribution=method), together, images[:1], ["a"])
    assert (target, votes) == by_hand(together, images[0], "a")


def test_a_folded_network_and_a_law_of_its_own_choose_alike(net, images):
    found = certifier(noise=DiscreteGaussianNoise(0.5), fold_batch_norm=True)(net, images[:1], "noisy_majority", ["a"])
    sampling = found[0]["pixel"].sampling
    assert "integer" in sampling["class_generator"]
    assert 0 < sampling["class_votes"] <= 100


def test_a_statement_says_how_the_class_was_chosen(net, images):
    (results,) = certifier()(net, images[:1], "noisy_majority", ["a"])
    sampling = results["pixel"].sampling
    words = f"class {sampling['target']}: the majority of 100 noisy predictions, with {sampling['class_votes']} votes"
    assert f"(it explains {words})" in results["pixel"].statement()
    both = attrs.evolve(results["pixel"], sampling=sampling | {"explained": "the classifier at the denoised image"})
    assert f"(it explains the classifier at the denoised image, and {words})" in both.statement()
    one = certify(net, images[0], "noisy_majority", noise=0.5, num_samples=100)["pixel"]
    assert "the majority of 100 noisy predictions" in one.statement()


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_numbers_of_copies_that_make_no_sense_are_refused(count):
    with pytest.raises(InputError, match="class_samples"):
        certifier(class_samples=count)


def test_another_word_is_no_rule(net, images):
    with pytest.raises(InputError, match=r"targets must be class indices, got 'majority'.*noisy_majority"):
        certifier()(net, images, "majority")
