"""Asking changes nothing: neither a certifier, nor the certificates that it may share with others."""

import pickle

import attrs
import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, TopKOverlapCertificate
from lit_certattr.certification import Futility
from lit_certattr.robustness.evaluation import evaluate_candidates
from lit_certattr.smoothing import GaussianNoise

CERTIFICATES = {
    "pixel": PixelCertificate([0.5, 0.25]),
    "overlap": TopKOverlapCertificate(0.2),
    "cosine": CosineCertificate(num_selection=20),
}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 3))
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def fresh():
    return pickle.loads(pickle.dumps(CERTIFICATES))


def stopping(certificates, sigma=0.25, num_samples=600):
    return Certifier(
        Gradient(), GaussianNoise(sigma), certificates, num_samples, batch_size=100, stopping=[Futility(0.2)]
    )


def fixed(certificates, sigma=0.5, num_samples=400):
    return Certifier(Gradient(), GaussianNoise(sigma), certificates, num_samples, batch_size=100, seed=7)


def plain(results):
    return [
        {
            name: {
                field.name: value.tolist() if isinstance(value := getattr(result, field.name), torch.Tensor) else value
                for field in attrs.fields(type(result))
            }
            for name, result in one.items()
        }
        for one in results
    ]


def ask(certifier):
    """Everything that a certifier answers without sampling."""
    looks = [certifier.looks(shape) for shape in ((8, 8), (224, 224), (8, 8))]
    certifier.check_sample_size((8, 8))
    certifier.check_images_apart()
    certifier.block_size(torch.zeros(1, 8, 8))
    certifier.start(torch.zeros(1, 8, 8), (8, 8))
    return looks, certifier.settings()


def test_looks_change_nothing(net, images):
    certificates = fresh()
    before = pickle.dumps(certificates)
    hashes = {name: hash(certificate) for name, certificate in certificates.items()}
    run = stopping(certificates)
    expected = plain(stopping(fresh())(net, images, ids=["a", "b"]))
    first = ask(run)
    assert ask(run) == first
    assert pickle.dumps(certificates) == before
    assert certificates == CERTIFICATES
    assert {name: hash(certificate) for name, certificate in certificates.items()} == hashes
    assert plain(run(net, images, ids=["a", "b"])) == expected
    assert ask(run) == first
    assert plain(run(net, images, ids=["a", "b"])) == expected
    assert pickle.dumps(certificates) == before


def test_two_certifiers_that_share_certificates_give_what_each_gives_alone(net, images):
    alone = plain(stopping(fresh())(net, images, ids=["a", "b"])), plain(fixed(fresh())(net, images, ids=["a", "b"]))
    shared = fresh()
    one, other = stopping(shared), fixed(shared)
    for _ in range(2):  # in turns, image by image
        for index, image_id in enumerate("ab"):
            image = images[index : index + 1]
            ask(other)
            assert plain(one(net, image, ids=[image_id])) == [alone[0][index]]
            ask(one)
            assert plain(other(net, image, ids=[image_id])) == [alone[1][index]]


def test_certifiers_that_share_certificates_may_be_in_the_middle_of_an_image(net, images):
    """The one asks, certifies and sees another noise and another shape of maps between two blocks of the other."""
    shared = fresh()
    one, other, small = fixed(shared), stopping(shared), torch.rand(1, 1, 6, 6)
    net6 = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    inner = []

    def interrupt(_):
        if len(inner) < 3:
            ask(other)
            inner.append(plain(other(net6, small, ids=["c"])))

    interrupted = plain(one(net, images, ids=["a", "b"], on_block=interrupt))
    assert interrupted == plain(fixed(fresh())(net, images, ids=["a", "b"]))
    assert inner == [plain(stopping(fresh())(net6, small, ids=["c"]))] * 3


def test_one_certificate_may_have_two_names(net, images):
    certificate = PixelCertificate([0.5, 0.25])
    (results,) = fixed({"one": certificate, "two": certificate})(net, images[:1], ids=["a"])
    (alone,) = fixed({"one": PixelCertificate([0.5, 0.25])})(net, images[:1], ids=["a"])
    one, two = plain([{"x": results["one"]}]), plain([{"x": results["two"]}])
    assert one == two == plain([{"x": alone["one"]}])


def test_an_evaluation_leaves_the_certifier_as_it_was(net, images):
    certificates = fresh()
    before, run = pickle.dumps(certificates), stopping(certificates)
    expected = plain(stopping(fresh())(net, images[:1], ids=["a"]))
    (found,) = evaluate_candidates(run, net, images[0], [images[1]], 1, "a")
    assert pickle.dumps(certificates) == before
    assert plain(run(net, images[:1], ids=["a"])) == expected
    # All samples, at all of alpha, although the run may stop early.
    assert {(result.num_samples, result.alpha_share) for result in found.results.values()} == {(600, 1.0)}
    halves = [{(result.num_samples, result.alpha_share) for result in half[0].values()} for half in found.halves]
    assert halves == [{(300, 1.0)}, {(300, 1.0)}]
    votes = [half[0]["pixel"].votes for half in found.halves]
    assert torch.equal(votes[0] + votes[1], found.results["pixel"].votes)
