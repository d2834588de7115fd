"""Noise levels tried before a long run."""

import csv
from unittest import mock

import pytest
import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.certification.trial import Trial
from lit_certattr.cli.certify import main
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.jobs.noise_levels import NoiseLevels
from lit_certattr.models import Denoised, SmallCNN
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise

CPU = jobs.TrainerOptions(accelerator="cpu", devices=1)


def certifier(attribution=None):
    return Certifier(
        attribution or Gradient(),
        GaussianNoise(0.25),
        {"pixel": PixelCertificate([0.5]), "top": TopKOverlapCertificate(0.25)},
    )


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmallCNN(image_size=8, num_classes=10).eval()


def test_each_level_is_what_a_certifier_of_that_level_finds(network):
    found = jobs.try_sigmas(
        certifier(), Digits(), network, sigmas=[0.05, 0.4], num_samples=40, max_images=2, trainer=CPU, progress=False
    )
    assert [(trial.network, trial.sigma) for trial in found.trials] == [("plain", 0.05), ("plain", 0.4)]
    data = Digits(max_images=2)
    data.setup("predict")
    samples = [data.predict_set[index] for index in range(2)]
    single = Certifier(Gradient(), GaussianNoise(0.4), [PixelCertificate([0.5])], num_samples=40)
    results = [single(network, one.image[None], ids=[one.id])[0]["pixel"] for one in samples]
    trial = found.trials[1]
    assert trial.noisy_accuracy == pytest.approx(sum(one.noisy_accuracy for one in results) / 2)
    shares = sum(float((one.labels_at(0.1) >= 0).float().mean()) for one in results) / 2
    assert trial.certified["pixel/fraction_k50_r0_10"] == pytest.approx(shares, abs=1e-6)
    assert 0 <= trial.agreement <= 1


def test_agreement_is_one_where_the_map_does_not_depend_on_the_image(network):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    settings = {"num_samples": 200, "max_images": 2, "trainer": CPU, "progress": False}
    found = jobs.try_sigmas(certifier(), Digits(), linear, sigmas=[0.3], **settings)
    assert found.trials[0].agreement == 1
    assert found.trials[0].certified["top/overlap_k25_r0_10"] == 1


def test_a_denoised_network_is_tried_with_and_without(network):
    class Constant(nn.Module):
        """A denoiser that makes all noise disappear, and the image with it."""

        def forward(self, images):
            return images * 0 + 0.5

    with pytest.warns(UserWarning, match="Constant removes no noise"):
        found = jobs.try_sigmas(
            certifier(RegionMap(Gradient(), Grid(4))),
            Digits(),
            Denoised(Constant(), network),
            sigmas=[0.1],
            num_samples=20,
            max_images=2,
            trainer=CPU,
            progress=False,
        )
    plain, denoised = found.trials
    assert (plain.network, denoised.network) == ("plain", "denoised")
    assert denoised.certified["pixel/fraction_k50_r0_10"] >= plain.certified["pixel/fraction_k50_r0_10"]


def trial(sigma, accuracy, network="plain"):
    return Trial(network, sigma, accuracy, 0.5, {})


def test_the_sensible_level_is_the_largest_that_the_network_still_sees():
    found = NoiseLevels([trial(0.1, 0.9), trial(0.2, 0.5), trial(0.3, 0.49)], ["a"])
    assert found.sensible_sigma("plain") == 0.2
    assert "sigma = 0.2 is the largest" in found.advice()[0]


def test_a_network_that_sees_nothing_gets_remedies_and_no_level():
    found = NoiseLevels([trial(0.1, 0.3), trial(0.1, 0.4, "denoised")], ["a"])
    assert found.sensible_sigma("plain") is None
    assert "try smaller noise, or denoise (Denoised)" in found.advice()[0]
    assert "try smaller noise, or train with noise" in found.advice()[1]


def test_files_are_replaced_only_when_asked(network, tmp_path):
    settings = {"sigmas": [0.1], "num_samples": 20, "max_images": 1, "trainer": CPU, "progress": False}
    found = jobs.try_sigmas(certifier(), Digits(), network, output=tmp_path / "sigmas", **settings)
    (row,) = csv.DictReader((found.path / "sigmas.csv").read_text().splitlines())
    assert float(row["noisy_accuracy"]) == found.trials[0].noisy_accuracy
    assert (found.path / "sigmas.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="exists; choose another --output, or --overwrite"):
        jobs.try_sigmas(certifier(), Digits(), network, output=tmp_path / "sigmas", **settings)
    jobs.try_sigmas(certifier(), Digits(), network, output=tmp_path / "sigmas", overwrite=True, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sigmas": [0.1, -1]}, "sigma must be a positive number, got -1"),
        ({"sigmas": [0.2, 0.1, 0.2]}, "sigmas must differ, got .*: name each noise level once"),
        ({"sigmas": []}, "sigmas must hold at least one"),
        ({"agreement_k": 2}, "agreement_k must be a share"),
        ({"num_samples": 2}, "at least"),
        ({"radii": [float("nan")]}, "radii must be finite"),
        ({"trainer": jobs.TrainerOptions(accelerator="cpu", precision="bf16-mixed")}, "precision 32-true"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_sampled(network, settings, words, tmp_path):
    given = {"max_images": 1, "trainer": CPU, "progress": False, "output": tmp_path / "sigmas"} | settings
    with (
        mock.patch.object(Certifier, "__call__", side_effect=AssertionError("sampled")),
        pytest.raises(InputError, match=words),
    ):
        jobs.try_sigmas(certifier(), Digits(), network, **given)
    assert not (tmp_path / "sigmas").exists()


def test_the_command_takes_the_configuration_of_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "network: {class_path: SmallCNN, init_args: {image_size: 8}}\n"
        "data: {class_path: Digits}\n"
        "certifier:\n"
        "  attribution: {class_path: Gradient}\n"
        "  noise: {class_path: GaussianNoise, init_args: {sigma: 0.25}}\n"
        "  certificates: [{class_path: PixelCertificate, init_args: {top_k: [0.5]}}]\n"
        "  num_samples: 1000\n"
        "output: runs/digits\n"
        "max_panels: 3\n"
        "logger: {class_path: WandbLogger, init_args: {offline: true}}\n"
    )
    main(
        ["sigmas", "--config=run.yaml", "--sigmas=[0.1,0.3]", "--num_samples=20", "--max_images=1", "--accelerator=cpu"]
    )
    shown = capsys.readouterr().out
    assert "noisy copies" in shown
    assert "plain network:" in shown
    assert (tmp_path / "runs/digits_sigmas/sigmas.csv").exists()
    assert not (tmp_path / "runs/digits").exists()


def test_labels_are_mapped_to_logits_once_for_all_levels(network):
    """Logits 10 to 19 belong to the ten digits; mapped twice, the labels would have no logit."""

    class Twenty(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            logits = self.network(images)
            return torch.cat([logits - 100, logits], 1)

    settings = {"num_samples": 20, "max_images": 2, "targets": "label", "trainer": CPU, "progress": False}
    one, two = (
        jobs.try_sigmas(certifier(), Digits(), net, sigmas=[0.1, 0.3], class_indices=indices, **settings).trials
        for net, indices in ((network, None), (Twenty(), list(range(10, 20))))
    )
    assert [trial.noisy_accuracy for trial in one] == [trial.noisy_accuracy for trial in two]
