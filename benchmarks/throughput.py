"""What certified sampling costs beside the passes that it cannot avoid, and beside other software.

    python -m benchmarks.throughput time   --network resnet18 --batch 8 --samples 64 --repetitions 15
    python -m benchmarks.throughput peers  --network resnet18 --batch 64 --samples 128 --repetitions 7
    python -m benchmarks.throughput cams   --network resnet18 --batch 8 --samples 64 --repetitions 7
    python -m benchmarks.throughput kept   --network efficientnet_lite0 --batch 32 --samples 64 --repetitions 7
    python -m benchmarks.throughput memory --network small_cnn --batch 10

`time` compares the sampling of the certifier (fresh noise, gradients, top-K counts for three levels and the overlap,
results) with the bare loop: forward and input gradient of a fixed noisy batch of the same size and layout, as PyTorch
makes them; and as our gradients are made, another way through the first convolution. Noise and counting stand alone
too, and what the certifier does once an image, which the number of samples divides: the class and the shape of the map,
from the clean image. `peers` puts Captum's NoiseTunnel around Saliency beside the same sampling, with its defaults (all
samples in one batch, the network in its usual layout) and batched by hand; it neither ranks nor counts. `cams`
certifies Grad-CAM, as it is and resized; Captum (as it is) and pytorch-grad-cam (resized) explain the same noisy
images, batch by batch. Other software and ours run in processes of their own. Ours keep freed memory, as certify.py
does; `kept` shows what that saves. All of these: one thread, CPU time, interleaved, medians of the ratios of
each round; `time --device cuda`: time until the accelerator has done it. `memory` is the peak of a fresh process for
each number of samples.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from functools import partial

import torch
from captum.attr import LayerGradCam, NoiseTunnel, Saliency
from pytorch_grad_cam import GradCAM as PeerGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from benchmarks.timing import Cases, in_turn, interleaved, process_of_its_own, ratios
from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, GradCAM, Gradient
from lit_certattr.attribution.image_convolution import ImageConvolutions
from lit_certattr.certificates import PixelCertificate, Result, TopKOverlapCertificate
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.models import EfficientNetLite0, SmallCNN, TorchvisionClassifier, final_layer, fold_batch_norm
from lit_certattr.smoothing import GaussianNoise, MapBlock, noisy_images

NETWORKS = {
    "small_cnn": (lambda: SmallCNN(), (1, 28, 28)),
    "efficientnet_lite0": (lambda: EfficientNetLite0(), (3, 224, 224)),
    "resnet18": (lambda: TorchvisionClassifier("resnet18"), (3, 224, 224)),
}
SIGMA = 0.25
Builder = Callable[[argparse.Namespace], Cases]


class Setting:
    """Network, image and certifier of one comparison.

    Args:
        arguments: The command line.
        attribution: The method.
    """

    def __init__(self, arguments: argparse.Namespace, attribution: Attribution) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        build, shape = NETWORKS[arguments.network]
        self.device = torch.device(arguments.device)
        self.samples, self.batch, self.image = arguments.samples, arguments.batch, torch.rand(shape).to(self.device)
        self.usual = build().eval().requires_grad_(False).to(self.device)
        self.model: nn.Module = deepcopy(self.usual).to(memory_format=torch.channels_last)
        self.certifier = Certifier(
            attribution=attribution,
            noise=GaussianNoise(SIGMA),
            certificates=[PixelCertificate(top_k=(0.5, 0.25, 0.1)), TopKOverlapCertificate(top_k=0.2)],
            num_samples=self.samples,
            batch_size=self.batch,
        )
        self.target = torch.zeros(self.batch, dtype=torch.long, device=self.device)
        self.noisy: Tensor = next(self.blocks()).clone(memory_format=torch.preserve_format)
        self.steps = self.samples // self.batch
        self.maps = attribution(self.model, self.noisy, self.target)
        self.map_shape = (self.maps.shape[1], self.maps.shape[2])

    def blocks(self) -> Iterator[Tensor]:
        """Blocks of noisy images, as the certifier draws them."""
        sizes = {"num_samples": self.samples, "batch_size": self.batch}
        return noisy_images(self.image, self.certifier.noise, image_id="bench", **sizes)

    def sample(self) -> dict[str, Result]:
        """What the certifier does for every sample, and the results."""
        with torch.no_grad():
            accumulators = self.certifier.start(self.image, self.map_shape)
            for block in self.certifier.blocks(self.model, self.image, 0, "bench", 0, self.samples):
                for accumulator in accumulators.values():
                    accumulator.update(block)
            return {name: accumulator.compute() for name, accumulator in accumulators.items()}

    def once(self) -> None:
        """What it does once an image: the class, and the shape of the map."""
        with torch.no_grad():
            self.model(self.image[None]).argmax(1)
        self.certifier.attribution(self.model, self.image[None], self.target[:1])

    def bare(self) -> None:
        """The passes that cannot be avoided for gradients."""
        for _ in range(self.steps):
            images = self.noisy.detach().requires_grad_(True)
            torch.autograd.grad(self.model(images).gather(1, self.target[:, None]).sum(), images)

    def dense(self) -> None:
        """The same passes, as our gradients make them."""
        with ImageConvolutions():
            self.bare()

    def noise(self) -> None:
        """Fresh noise alone."""
        for _ in self.blocks():
            pass

    def count(self) -> dict[str, Result]:
        """Ranking, counting and statistics alone, of the same maps again and again."""
        accumulators = self.certifier.start(self.image, self.map_shape)
        for _ in range(self.steps):
            block = MapBlock(self.maps)
            for accumulator in accumulators.values():
                accumulator.update(block)
        return {name: accumulator.compute() for name, accumulator in accumulators.items()}


def report(title: str, seconds: dict[str, list[float]], base: str, arguments: argparse.Namespace) -> None:
    """Print the median time and the ratio of each case."""
    shares = ratios(seconds, base)
    print(
        f"{title}: {arguments.network}, batch {arguments.batch}, {arguments.samples} samples, torch {torch.__version__}"
    )
    for name, values in seconds.items():
        milliseconds = 1e3 * statistics.median(values) / arguments.samples
        speed = f"{shares[name]:7.4f} x its time, {1 / shares[name]:7.3f} x its speed"
        print(f"  {name:40s} {milliseconds:9.4f} ms a sample   {base}: {speed}", flush=True)


def time_cases(setting: Setting) -> Cases:
    """Sampling and its parts, and the bare loop."""
    return {
        "bare loop": setting.bare,
        "bare loop, our first convolution": setting.dense,
        "noise alone": setting.noise,
        "counting and statistics alone": setting.count,
        "once an image": setting.once,
        "sampling": setting.sample,
    }


def compare_time(arguments: argparse.Namespace) -> None:
    """Sampling and its parts beside the bare loop, in a process that keeps freed memory."""
    keep_freed_memory()
    cases = time_cases(Setting(arguments, Gradient()))
    report("time", interleaved(cases, arguments.repetitions, arguments.device), "bare loop", arguments)


def tunnel_cases(arguments: argparse.Namespace) -> Cases:
    """Captum's smoothing of the same method, which gives no certificate."""
    setting = Setting(arguments, Gradient())
    tunnel = NoiseTunnel(Saliency(setting.usual))
    smooth = partial(tunnel.attribute, nt_type="smoothgrad", nt_samples=setting.samples, stdevs=SIGMA, target=0)
    return {
        "NoiseTunnel": lambda: smooth(setting.image[None].clone()),
        "NoiseTunnel batched by hand": lambda: smooth(setting.image[None].clone(), nt_samples_batch_size=setting.batch),
    }


def sampling_cases(arguments: argparse.Namespace) -> Cases:
    """The certifier's sampling in its modes of arithmetic, and the passes that it cannot avoid."""
    setting = Setting(arguments, Gradient())
    folded = copy(setting)
    folded.model = fold_batch_norm(setting.model, setting.image[None])

    def half(mode: Setting) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            mode.sample()

    return {
        "bare loop": setting.bare,
        "sampling": setting.sample,
        "sampling, folded": folded.sample,
        "sampling, bfloat16": partial(half, setting),
        "sampling, folded, bfloat16": partial(half, folded),
    }


def peer_cam_cases(arguments: argparse.Namespace) -> Cases:
    """Grad-CAM of Captum and pytorch-grad-cam, which rank and count nothing."""
    setting = Setting(arguments, GradCAM())
    method = LayerGradCam(setting.model, final_layer(setting.model).module)
    trainable = deepcopy(setting.model).requires_grad_(True)  # pytorch-grad-cam cannot work with frozen parameters
    layer = final_layer(trainable).module

    def captum() -> None:
        for block in setting.blocks():
            method.attribute(block, 0)

    def peer() -> None:
        with PeerGradCAM(trainable, [layer]) as cam:
            for block in setting.blocks():
                cam(block, [ClassifierOutputTarget(0)] * len(block))

    return {"Captum": captum, "pytorch-grad-cam": peer}


def cam_cases(arguments: argparse.Namespace) -> Cases:
    """Certified Grad-CAM."""
    resized, native = Setting(arguments, GradCAM()), Setting(arguments, GradCAM(upsample=False))
    return {"sampling, 7 x 7": native.sample, "sampling, resized": resized.sample}


def compare_peers(theirs: Builder, ours: Builder, base: str, arguments: argparse.Namespace) -> None:
    """Other software as it comes, beside ours as ``certify.py`` runs it, each in a process of its own."""
    with (
        process_of_its_own(partial(theirs, arguments), keeps_memory=False) as peers,
        process_of_its_own(partial(ours, arguments), keeps_memory=True) as own,
    ):
        report(arguments.what, in_turn({**peers, **own}, arguments.repetitions), base, arguments)


def pass_cases(arguments: argparse.Namespace) -> Cases:
    """Sampling of gradients, and passes without a graph."""
    setting = Setting(arguments, Gradient())

    def forward() -> None:
        with torch.no_grad():
            for _ in range(setting.steps):
                setting.model(setting.noisy)

    return {"sampling": setting.sample, "forward passes": forward}


def compare_kept(arguments: argparse.Namespace) -> None:
    """What it saves that ``certify.py`` keeps freed memory."""
    build = partial(pass_cases, arguments)
    with (
        process_of_its_own(build, keeps_memory=False) as returned,
        process_of_its_own(build, keeps_memory=True) as kept,
    ):
        for name in returned:
            pair = {f"{name}, memory returned": returned[name], f"{name}, kept": kept[name]}
            report("kept", in_turn(pair, arguments.repetitions), f"{name}, memory returned", arguments)


def measure_memory(arguments: argparse.Namespace) -> None:
    """Print the peak of a fresh process for 10, 1,000 and 10,000 samples."""
    if not arguments.child:
        for samples in (10, 1_000, 10_000):
            options = ["--network", arguments.network, "--batch", str(arguments.batch), "--samples", str(samples)]
            subprocess.run([sys.executable, "-m", "benchmarks.throughput", "memory", "--child", *options], check=True)
        return
    setting = Setting(arguments, Gradient())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    setting.sample()  # not through Certifier, which refuses 10 samples: they certify nothing
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    above = (peak - before) / 1024
    print(f"{arguments.samples:6d} samples: peak {peak / 1024:7.1f} MiB, {above:5.1f} MiB above the start", flush=True)


def main() -> None:
    """Read the command line and run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands: dict[str, Callable[[argparse.Namespace], None]] = {
        "time": compare_time,
        "peers": partial(compare_peers, tunnel_cases, sampling_cases, "NoiseTunnel"),
        "cams": partial(compare_peers, peer_cam_cases, cam_cases, "Captum"),
        "kept": compare_kept,
        "memory": measure_memory,
    }
    parser.add_argument("what", choices=list(commands))
    parser.add_argument("--network", choices=sorted(NETWORKS), default="small_cnn")
    parser.add_argument("--batch", type=int, default=64, help="samples evaluated at once")
    parser.add_argument("--samples", type=int, default=1024, help="samples an image")
    parser.add_argument("--repetitions", type=int, default=9, help="rounds that are counted")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="for `time`")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    commands[arguments.what](arguments)


if __name__ == "__main__":
    main()
