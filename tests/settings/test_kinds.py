"""Settings of the wrong kind: one line that names the setting, and no traceback of something else."""

import numpy as np
import pytest

from lit_certattr import CertificationCallback, Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number, whole_number
from lit_certattr.smoothing import GaussianNoise


def certifier(**settings):
    parts = {"attribution": Gradient(), "noise": GaussianNoise(0.1), "certificates": [PixelCertificate()]}
    return Certifier(**(parts | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attribution": dict}, r"attribution must be an Attribution, e.g. Gradient\(\), got the class dict"),
        ({"attribution": 3}, "attribution must be an Attribution, .* got 3"),
        ({"noise": 0.25}, r"noise must be a Noise, e.g. GaussianNoise\(sigma=0.25\), got 0.25"),
        ({"noise": GaussianNoise}, "noise must be a Noise, .* got the class GaussianNoise"),
        ({"certificates": PixelCertificate()}, r"certificates must be a list, e.g. \[PixelCertificate\(\)\]"),
        (
            {"certificates": [PixelCertificate]},
            "must be a Certificate, .* got the class PixelCertificate",
        ),
        ({"certificates": "pixel"}, "certificates must be a list"),
        ({"certificates": None}, "certificates must be a list, .* got None"),
        ({"certificates": {"a": 1}}, "a certificate must be a Certificate, .* got 1"),
        ({"certificates": {1: PixelCertificate()}}, "certificate name 1 must be letters"),
        ({"num_samples": 100.5}, "num_samples must be a whole number, got 100.5"),
        ({"num_samples": "100"}, "num_samples must be a whole number, got '100'"),
        ({"num_samples": None}, "num_samples must be a whole number, got None"),
        ({"num_samples": True}, "num_samples must be a whole number, got True"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_samples": 2**31}, "num_samples must be at most 2147483647"),
        ({"batch_size": "32"}, 'batch_size, if not "auto", must be a whole number'),
        ({"batch_size": None}, 'batch_size, if not "auto", must be a whole number'),
        ({"batch_size": 0}, 'batch_size, if not "auto", must be at least 1'),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"stopping": 5}, "stopping must be a list"),
    ],
)
def test_a_certifier_names_the_setting(settings, message):
    with pytest.raises(InputError, match=message):
        certifier(**settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PixelCertificate(top_k=0.25), r"top_k must be a list, e.g. \[0.5, 0.25\], got 0.25"),
        (lambda: PixelCertificate(top_k="0.25"), "top_k must be a list"),
        (lambda: PixelCertificate(top_k=["0.25"]).mask_sizes(64), "top_k must be a number, got '0.25'"),
        (lambda: PixelCertificate(alpha="0.01"), "alpha must be a number, got '0.01'"),
        (lambda: PixelCertificate(alpha=None), "alpha must be a number, got None"),
        (lambda: PixelCertificate(tau="0.7"), "tau must be a number, got '0.7'"),
        (lambda: TopKOverlapCertificate(top_k=[0.2]).smallest_num_samples(64), r"top_k must be a number, got \[0.2\]"),
        (lambda: CertificationCallback(Gradient()), "certifier must be a Certifier"),
        (lambda: CertificationCallback(certifier(), num_images="3"), "num_images must be a whole number"),
        (lambda: CertificationCallback(certifier(), num_panels=17), "num_panels must lie in 0 to 16"),
        (lambda: CertificationCallback(certifier(), radii=0.1), r"radii must be a list, e.g. \[0.1\], got 0.1"),
        (lambda: CertificationCallback(certifier(), radii=["0.1"]), "a radius must be a number"),
    ],
)
def test_certificates_and_the_callback_name_the_setting(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_numbers_of_numpy_are_numbers():
    assert whole_number("n", np.int64(3)) == 3
    assert real_number("x", np.float32(0.5)) == 0.5
    assert certifier(num_samples=np.int32(7), seed=np.int64(2)).num_samples == 7
