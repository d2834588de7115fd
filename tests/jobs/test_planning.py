"""Plans: what a run will cost, before it runs."""

import re

import pytest
import torch

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import (
    CAM,
    Attribution,
    GradCAM,
    Gradient,
    IntegratedGradients,
    Occlusion,
    ProbabilityGradient,
)
from lit_certattr.certificates import PixelCertificate, SmoothGradCertificate, TopKOverlapCertificate
from lit_certattr.certification.stopping import Futility
from lit_certattr.cli.certify import main
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.jobs import measuring
from lit_certattr.jobs.measuring import Cost, Subject, measure
from lit_certattr.jobs.passes import CountedPasses, OutOfTime
from lit_certattr.jobs.planning import Plan
from lit_certattr.models import CifarResNet, SmallCNN
from lit_certattr.smoothing import GaussianNoise

CPU = jobs.TrainerOptions(accelerator="cpu", devices=1)
QUICK = {"seconds": 0.01, "trainer": CPU, "progress": False}


def certifier(attribution=None, **settings):
    certificates = {"pixel": PixelCertificate([0.5]), "top": TopKOverlapCertificate(0.25)}
    return Certifier(attribution or Gradient(), GaussianNoise(0.25), certificates, **settings)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmallCNN(image_size=8, num_classes=10).eval()


@pytest.mark.parametrize(
    ("method", "forward", "backward"),
    [
        (Gradient(), 1, 1),
        (GradCAM(), 1, 0),  # the layers above the last feature map cost nearly nothing
        (IntegratedGradients(steps=5), 5, 5),
        (Occlusion(window=8, stride=8), 17, 0),  # the image and its 16 windows
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Attribution) else value,
)
def test_passes_are_those_of_the_table_of_methods(method, forward, backward):
    network = CifarResNet(8, 5).eval().requires_grad_(False)
    image, classes = torch.rand(1, 3, 32, 32), torch.tensor([1])
    with torch.no_grad():
        with CountedPasses() as once:
            network(image)
        with CountedPasses() as counted:
            method(network, image, classes)
    assert counted.forward / once.forward == pytest.approx(forward, rel=0.05)
    assert counted.backward / once.forward == pytest.approx(backward, rel=0.05, abs=0.01)


def test_a_method_that_takes_too_long_is_called_so(network):
    class Slow(Attribution):
        def __call__(self, model, images, targets, create_graph=False):
            try:
                while True:
                    model(images)
            except Exception as error:
                raise AssertionError("the method must not get hold of it") from error

    with pytest.raises(OutOfTime), CountedPasses(seconds=0.01):
        Slow()(network, torch.rand(1, 1, 8, 8), torch.tensor([0]))
    cost = measure(certifier(Slow()), network, Subject(torch.rand(1, 8, 8), 0, "a"), "32-true", 0.01, 0.05)
    assert (cost.samples_per_second, cost.refused) == (None, None)


def test_a_plan_counts_images_samples_and_modes(network):
    found = jobs.plan(certifier(num_samples=3000), Digits(max_images=7), network, **QUICK)
    assert (found.num_images, found.num_samples, found.devices, found.device) == (7, 3000, 1, "cpu")
    assert [(mode.precision, mode.memory_format) for mode in found.modes] == [
        ("32-true", "channels_last"),
        ("32-true", "contiguous"),
        ("bf16-mixed", "channels_last"),
        ("bf16-mixed", "contiguous"),
    ]
    assert all(mode.refused is None and mode.samples_per_second > 0 for mode in found.modes)
    assert (found.configured.forward, found.configured.backward) == (1, pytest.approx(1, abs=0.15))
    assert found.methods == []


@pytest.mark.parametrize("stopping", [[], [Futility()]])
def test_the_smallest_number_is_that_at_which_a_run_starts(network, stopping):
    found = jobs.plan(certifier(num_samples=2, stopping=stopping), Digits(), network, **QUICK)
    enough = found.configured.enough
    assert f"num_samples=2 certifies nothing: at least {enough} are needed" in found.advice()[-1]
    certifier(num_samples=enough, stopping=[]).check_sample_size((8, 8))
    with pytest.raises(InputError, match=f"at least {enough} samples"):
        certifier(num_samples=enough - 1, stopping=[]).check_sample_size((8, 8))


def test_disk_is_what_a_run_writes(network, tmp_path):
    settings = {"trainer": CPU, "progress": False}
    found = jobs.plan(certifier(num_samples=50), Digits(max_images=2), network, seconds=0.01, **settings)
    directory = jobs.run(certifier(num_samples=50), Digits(max_images=2), network, output=tmp_path / "run", **settings)
    written = sum(file.stat().st_size for part in (directory.maps, directory.images) for file in part.iterdir()) / 2
    assert 0 <= written - found.configured.bytes_per_image <= 2 * 1024, "the two certificates describe themselves"


def test_methods_that_do_not_fit_are_listed_with_the_reason(network):
    found = jobs.plan(certifier(num_samples=100), Digits(), network, methods=["CAM", "GradCAM"], **QUICK)
    cam, gradcam = found.methods
    assert cam.method == repr(CAM())
    assert "needs global average pooling" in cam.refused
    assert gradcam.refused is None
    certificates = [SmoothGradCertificate(0.25, num_selection=4)]
    scored = Certifier(ProbabilityGradient(), GaussianNoise(0.25), certificates, num_samples=500)
    (gradient,) = jobs.plan(scored, Digits(), network, methods=["Gradient"], **QUICK).methods
    assert "is about the gradient of a probability" in gradient.refused


def test_all_methods_are_those_without_required_arguments(network, monkeypatch):
    monkeypatch.setattr("lit_certattr.jobs.planning.measure", lambda one, *_: Cost(repr(one.attribution), "", ""))
    found = jobs.plan(certifier(num_samples=100), Digits(), network, methods="all", **QUICK)
    names = {cost.method.partition("(")[0] for cost in found.methods}
    assert {"Gradient", "GradCAM", "RISE", "LRP", "MoreauGrad"} <= names
    assert not {"SmoothGrad", "RegionMap", "FunctionAttribution", "CaptumAttribution"} & names


def cost(precision, speed, memory_format="channels_last"):
    return Cost("Gradient()", precision, memory_format, samples_per_second=speed, smallest={"pixel": 20})


def test_the_faster_mode_is_named_with_what_it_changes():
    modes = [cost("32-true", 10.0), cost("32-true", 9.0, "contiguous"), cost("bf16-mixed", 25.0)]
    (line,) = Plan(3, 100, 1, "cpu", modes).advice()
    assert line.startswith("--trainer.precision=bf16-mixed is 2.5 times as fast")
    assert "memory_format=" not in line
    assert "the record binds them" in line
    assert Plan(3, 100, 1, "cpu", [cost("32-true", 10.0), cost("bf16-mixed", 10.4)]).advice() == []


def test_a_compiled_network_is_timed_if_it_is_asked_for(network, compiler):
    found = jobs.plan(certifier(num_samples=100, batch_size=16), Digits(), network, compiled=True, **QUICK)
    assert [mode.compile_mode for mode in found.modes] == [None] * 4 + ["default"]
    *plain, compiled = found.modes
    assert (compiled.name, compiled.refused) == ("32-true, channels_last, compiled (default)", None)
    assert (compiled.forward, compiled.backward) == (found.configured.forward, found.configured.backward)
    assert compiled.startup > 0
    assert {mode.startup for mode in plain} == {None}
    assert compiler.graphs == {1: 2, 16: 2}, "blocks have the size of those of the run"
    sampling = found.num_images * found.num_samples / compiled.samples_per_second
    assert 3600 * found.hours(compiled, 1) == pytest.approx(sampling + compiled.startup)
    assert any("of its time, " in line for line in found.advice())


def test_methods_that_see_no_compiled_network_are_listed_with_the_reason(network, compiler):
    settings = {"compiled": True, "methods": ["GradCAM"], **QUICK}
    found = jobs.plan(certifier(GradCAM(), num_samples=100, batch_size=16), Digits(), network, **settings)
    assert "GradCAM looks at layers" in found.modes[-1].refused
    assert found.methods[0].refused is None
    found = jobs.plan(certifier(num_samples=100, batch_size=16, compile_mode="default"), Digits(), network, **settings)
    assert "GradCAM looks at layers" in found.methods[0].refused
    assert [mode.compile_mode for mode in found.modes] == ["default"] + [None] * 4


def test_compiling_pays_in_long_runs_alone():
    plain = cost("32-true", 10.0)
    compiled = Cost("Gradient()", "32-true", "channels_last", "default", None, 20.0, startup=30.0)
    assert Plan(1, 300, 1, "cuda", [plain, compiled]).fastest() is None  # 30 s, or 30 + 15
    line, rest = Plan(10, 300, 1, "cuda", [plain, compiled]).advice()  # 300 s, or 30 + 150
    assert line.startswith("--certifier.compile_mode=default is 1.7 times as fast")
    assert "precision, memory format and compilation are part" in line
    assert rest == "32-true, channels_last, compiled (default): of its time, 30 s in each process are compiling, once"
    line, _ = Plan(1, 300, 1, "cuda", [compiled, plain]).advice()
    assert line.startswith("--certifier.compile_mode=null is 1.5 times as fast")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"methods": ["GradCam"]}, "'GradCam' is no method without required arguments; these are .*GradCAM"),
        ({"methods": ["SmoothGrad"]}, "'SmoothGrad' is no method without required arguments"),
        ({"seconds": 0}, "seconds must be a time"),
        ({"ids": ["nothing"]}, "there is no image 'nothing'"),
    ],
)
def test_wrong_settings_are_one_line(network, settings, words):
    with pytest.raises(InputError, match=words):
        jobs.plan(certifier(), Digits(), network, **QUICK | settings)


def test_the_command_takes_the_configuration_of_a_run_and_writes_nothing(tmp_path, capsys, monkeypatch):
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
        "overwrite: true\n"
        "radii: [0.1]\n"
        "max_panels: 3\n"
        "logger: {class_path: WandbLogger, init_args: {offline: true}}\n"
    )
    main(["plan", "--config=run.yaml", "--seconds=0.01", "--max_images=4", "--accelerator=cpu", "--devices=2"])
    shown = capsys.readouterr().out
    assert shown.startswith("4 images, 1,000 samples each, on cpu: Gradient(")
    assert "2 devices" in shown
    assert re.search(r"\d (s|min|h) *\n", shown)
    assert "smallest number of samples that can certify anything: pixel 17" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_whoever_looks_for_noise_levels_is_sent_to_their_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "--sigmas=[0.1]"])
    assert stopped.value.code == 2
    assert "certify.py sigmas tries noise levels" in capsys.readouterr().err


def test_peak_memory_is_in_bytes():
    assert measuring.peak_of_process() > 50 * 2**20
