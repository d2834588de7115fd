"""What a run that is started in the directory of another one may do: go on, be extended, or be refused."""

import json
import re
from unittest import mock

import pytest
import torch
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.audit.audit import audit_run
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import Digits, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics.binomial import smallest_significant_count

CPU = jobs.TrainerOptions(accelerator="cpu", devices=1)


def network(seed=0):
    torch.manual_seed(seed)
    return SmallCNN(image_size=8, num_classes=10)


def run(path, net=None, sigma=0.25, num_samples=40, data=None, **settings):
    certifier = Certifier(Gradient(), GaussianNoise(sigma), [PixelCertificate([0.5])], num_samples=num_samples)
    settings = {"trainer": CPU, "progress": False, "max_panels": 1} | settings
    return jobs.run(certifier, data or Digits(), net or network(), output=path, **settings)


def content(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A finished run of two images."""
    return run(tmp_path_factory.mktemp("two") / "run", max_images=2)


@pytest.fixture
def copy(two, tmp_path):
    """A copy of it, to be changed."""
    for name, data in content(two.path).items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(data)
    return RunDirectory(tmp_path / "run")


def refusal(directory, **settings):
    before = content(directory.path)
    sampled = mock.patch.object(Certifier, "__call__", side_effect=AssertionError("sampled"))
    with sampled, pytest.raises(InputError) as refused:
        run(directory.path, **settings)
    assert content(directory.path) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- more images ----------------------------------------------------------------------------------------------


def test_an_extended_run_is_the_run_of_all_images(copy, tmp_path):
    whole, extended = run(tmp_path / "whole", max_images=4), run(copy.path, max_images=4)
    one, two = content(whole.path), content(extended.path)
    files = {name for name in one if name.name not in ("provenance.json", ".lock")}
    assert {name for name in files if one[name] != two[name]} == set()
    record = extended.provenance()
    assert record["settings"] == whole.provenance()["settings"]
    before = json.loads((copy.path / "provenance.json").read_text())["extended"]
    assert [(step["num_before"], step["num_now"]) for step in before] == [(2, 4)]
    assert [session["images"] for session in record["sessions"]] == [2, 2]
    assert audit_run(extended).findings == []


def test_images_that_are_there_are_not_certified_again(copy):
    ids = sorted(copy.finished())
    with mock.patch.object(RunDirectory, "write", autospec=True, side_effect=RunDirectory.write) as written:
        run(copy.path, max_images=3)
    assert not {call.args[1] for call in written.call_args_list} & set(ids)
    assert len(written.call_args_list) == 1


def test_an_extension_that_was_stopped_goes_on(copy):
    write = RunDirectory.write

    def once(self, image_id, *rest):
        write(self, image_id, *rest)
        raise KeyboardInterrupt

    with mock.patch.object(RunDirectory, "write", once), pytest.raises((KeyboardInterrupt, SystemExit)):
        run(copy.path, max_images=4)
    assert len(copy.finished()) == 3
    assert not copy.table.exists()
    assert "3 images, now 5: new" in refusal(copy, max_images=5)
    extended = run(copy.path, max_images=4)
    assert audit_run(extended).findings == []
    assert [step["num_now"] for step in extended.provenance()["extended"]] == [4]


def test_images_may_not_be_left_out(copy):
    ids = sorted(copy.finished())
    message = refusal(copy, ids=ids[:1])
    assert f"2 images, now 1: without {ids[1]}); a run keeps every image" in message


class Changed(Digits):
    """Digits whose first image has another pixel, or another label, or whose images come in another order."""

    what = "pixel"

    @property
    def predict_set(self):
        samples = super().predict_set
        targets = list(samples.targets)
        images = torch.stack([samples[index].image for index in range(len(samples))])
        if self.what == "order":
            return samples.subset([1, 0])
        if self.what == "label":
            targets[0] = (targets[0] + 1) % 10
        else:
            images[0, 0, 0, 0] = 0.5
        return SampleSet(images, targets, samples.ids)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("pixel", "image .* has other pixels"),
        ("label", "image .* has another label"),
        ("order", "the same images in another order"),
    ],
)
def test_changed_images_are_named(copy, what, words):
    data = Changed(max_images=2)
    data.what = what
    assert re.search(words, refusal(copy, data=data))


# --- other differences ----------------------------------------------------------------------------------------


def test_more_samples_of_the_same_images_are_refused_with_the_reason(copy):
    message = refusal(copy, num_samples=80, max_images=2)
    assert "num_samples was 40, is 80" in message
    assert "one more chance to be false" in message
    assert "another --seed and --output" in message
    assert "certifier.stopping" in message


def test_a_setting_is_named_with_both_values(copy):
    assert "noise was GaussianNoise(sigma=0.25), is GaussianNoise(sigma=0.5)" in refusal(copy, sigma=0.5, max_images=2)
    assert "noise was" in refusal(copy, sigma=0.5, max_images=4), "more images do not hide it"


def test_the_first_layer_whose_weights_differ_is_named(copy):
    other = network()
    name = [name for name, _ in other.named_parameters()][3]
    with torch.no_grad():
        other.get_parameter(name)[0] += 1
    assert f"the first weights that differ are those of {name}" in refusal(copy, net=other, max_images=2)


def test_other_networks_are_named(copy):
    message = refusal(copy, net=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), max_images=2)
    assert "it was a SmallCNN, is a Sequential" in message
    record = copy.provenance()
    del record["network"]["tensors"]
    copy.provenance_file.write_text(json.dumps(record))
    assert "of another network: its weights differ" in refusal(copy, net=network(1), max_images=2), "an older run"


def test_a_run_that_is_opened_again_names_it_too(copy):
    other = network()
    with torch.no_grad():
        other.get_parameter("features.0.weight")[0] += 1
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=40)
    with pytest.raises(InputError, match=r"certified: the first weights that differ .* features\.0\.weight"):
        jobs.reopen(copy.path, certifier, Digits(max_images=2), other)


def test_other_modules_with_the_same_weights_are_named(copy):
    other = network()
    place = next(name for name, module in other.named_modules() if isinstance(module, nn.ReLU))
    other.set_submodule(place, nn.LeakyReLU())
    assert "not the classes or arguments of its modules" in refusal(copy, net=other, max_images=2)


# --- the rule -------------------------------------------------------------------------------------------------


def test_the_noise_of_an_added_image_does_not_depend_on_the_others(two, tmp_path):
    """The proof of the rule: what is certified of an image is the same whatever other images there are."""
    ids = sorted(two.finished())
    alone = run(tmp_path / "alone", ids=ids[1:])
    one, other = alone.read(ids[1]).results["pixel"], two.read(ids[1]).results["pixel"]
    assert torch.equal(one.votes, other.votes)


def test_samples_that_are_added_until_something_is_certified_would_break_alpha():
    """Why more samples are refused: whoever looks after each 30 samples at full alpha is wrong too often."""
    alpha, tau, looks, runs = 0.1, 0.5, 20, 2000
    generator = torch.Generator().manual_seed(0)
    votes = (torch.rand(runs, looks, 30, generator=generator) < tau).sum(2).cumsum(1)
    sizes = [30 * look for look in range(1, looks + 1)]
    enough = torch.tensor([smallest_significant_count(size, tau, alpha) for size in sizes])
    false = votes >= enough  # the true vote is tau itself, so each certificate of more is false
    assert float(false[:, -1].float().mean()) <= alpha + 0.02, "samples that were fixed beforehand"
    assert float(false.any(1).float().mean()) > 2 * alpha
