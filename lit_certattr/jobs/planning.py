"""The job ``plan``: what a run will cost, from a few samples of its first image, before a long night."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import attrs
import torch
from lightning import LightningDataModule
from rich.console import Console
from rich.progress import track
from torch import nn

from lit_certattr.attribution import Attribution, frozen
from lit_certattr.certification import Certifier
from lit_certattr.certification.compile_mode import check_compile_mode
from lit_certattr.certification.sampling import MemoryFormat
from lit_certattr.certification.score import check_score
from lit_certattr.data import Sample, as_image_data
from lit_certattr.errors import InputError
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.checks import check_run
from lit_certattr.jobs.measuring import Cost, Subject, measure
from lit_certattr.jobs.parts import open_network, read_samples, with_samples
from lit_certattr.jobs.trainer import Precision, TrainerOptions, make_trainer, use_threads
from lit_certattr.models import without_denoiser
from lit_certattr.models.compiled_network import CompileMode
from lit_certattr.modules import Targets
from lit_certattr.preflight import logits_of
from lit_certattr.settings import several, whole_number
from lit_certattr.settings.discovery import is_own, subclasses

FASTER = 1.05
"""A mode is recommended if it draws at least this many times as many samples per second as the configured one."""


class _Mode(NamedTuple):
    precision: Precision
    memory_format: MemoryFormat
    compile_mode: CompileMode | None = None


_MODES = (
    _Mode("32-true", "channels_last"),
    _Mode("32-true", "contiguous"),
    _Mode("bf16-mixed", "channels_last"),
    _Mode("bf16-mixed", "contiguous"),
)
_PATIENCE = 30.0
"""Seconds that the map of one image may take before a method is called too slow to be timed."""


@attrs.frozen
class Plan:
    """What a run will cost.

    Attributes:
        num_images: Number of images.
        num_samples: Samples per image; the upper limit where sampling may stop early.
        devices: Number of devices of the configuration.
        device: Kind of device, e.g. ``"cpu"``.
        modes: The configured method: as configured, then in other precisions and memory formats, and compiled if
            that was asked for.
        methods: Other methods, as configured in all else; empty unless they were asked for.
    """

    num_images: int
    num_samples: int
    devices: int
    device: str
    modes: Sequence[Cost]
    methods: Sequence[Cost] = ()

    @property
    def configured(self) -> Cost:
        """The cost of the run as it is configured."""
        return self.modes[0]

    def hours(self, cost: Cost, devices: int) -> float | None:
        """Hours of sampling, and of compiling before it; ``None`` if the speed is unknown.

        Devices certify whole images, and are taken to be as fast together as each is alone. Processes on one CPU share
        its cores, so they are slower than this.

        Args:
            cost: One of :attr:`modes` or :attr:`methods`.
            devices: Number of devices, at least 1.

        Example:
            >>> plan = Plan(num_images=5, num_samples=7200, devices=1, device="cuda", modes=[])
            >>> cost = Cost("Gradient()", "32-true", "contiguous", samples_per_second=2.0)
            >>> plan.hours(cost, 1), plan.hours(cost, 2), plan.hours(cost, 100)
            (5.0, 3.0, 1.0)
        """
        rounds = -(-self.num_images // whole_number("devices", devices, least=1))
        speed = cost.samples_per_second
        return None if speed is None else (rounds * self.num_samples / speed + (cost.startup or 0.0)) / 3600

    def fastest(self) -> Cost | None:
        """The mode in which this run ends first, if that is clearly before the configured one."""
        known = [(hours, mode) for mode in self.modes if (hours := self.hours(mode, self.devices)) is not None]
        if not known or (own := self.hours(self.configured, self.devices)) is None:
            return None
        least, best = min(known, key=lambda one: one[0])
        return best if own >= FASTER * least else None

    def advice(self) -> list[str]:
        """What to change before the run, one sentence each; empty if nothing."""
        lines = []
        own, best = self.configured, self.fastest()
        if best is not None and (slow := self.hours(own, self.devices)) and (fast := self.hours(best, self.devices)):
            options = {"trainer.precision": (own.precision, best.precision)}
            options["certifier.memory_format"] = (own.memory_format, best.memory_format)
            options["certifier.compile_mode"] = (own.compile_mode or "null", best.compile_mode or "null")
            words = " ".join(f"--{name}={new}" for name, (old, new) in options.items() if old != new)
            compiled = {own.compile_mode, best.compile_mode} != {None}
            parts = "precision, memory format and compilation" if compiled else "precision and memory format"
            lines.append(
                f"{words} is {slow / fast:.1f} times as fast. Its numbers are others: {parts} are part of the "
                "explained function, the record binds them, and every statement is about the network computed in this "
                "way"
            )
        lines += [
            f"{mode.name}: of its time, {mode.startup:.0f} s in each process are compiling, once"
            for mode in self.modes
            if mode.startup is not None
        ]
        if self.num_samples < own.enough:
            lines.append(f"num_samples={self.num_samples} certifies nothing: at least {own.enough} are needed")
        return lines


@checked
def plan(
    certifier: Certifier,
    data: LightningDataModule,
    network: nn.Module | None = None,
    checkpoint: str | None = None,
    targets: Targets = "predicted",
    methods: Literal["all"] | list[str] | None = None,
    compiled: bool = False,
    seconds: float = 2.0,
    num_samples: int | None = None,
    seed: int | None = None,
    ids: list[str] | None = None,
    max_images: int | None = None,
    class_indices: list[int] | str | None = None,
    weights_key: str | None = None,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008  (never changed)
    progress: bool = True,
) -> Plan:
    """Time a few samples of the first image, and tell what the run will cost; nothing is written.

    The configured method is timed as configured, and in other modes: float32 and bfloat16 (mixed), each with the memory
    formats ``channels_last`` and ``contiguous``; with ``compiled``, also in the modes of ``compile_mode``. Modes are
    other explainers, so choose one before the run.

    Args:
        certifier: Certifier with method, noise law and certificates.
        data: Images; the test set would be certified.
        network: Network from images in [0, 1] to logits. Not needed if the checkpoint names its network.
        checkpoint: Weights (.ckpt, .pt, .pth, .safetensors), loaded without running any code from the file. A
            checkpoint of ``train.py fit`` also rebuilds its network.
        targets: The explained class, as in a run.
        methods: Other methods to time: their names, or ``all``: each of this package with its defaults, except those
            that need arguments (``SmoothGrad``, ``RegionMap``). A method that does not fit the network or the
            certificates is listed with the reason.
        compiled: Also time the configured method in a compiled network, which takes seconds to minutes more: in the
            mode ``default``, on an accelerator in ``reduce-overhead``, too.
        seconds: Time for which samples are drawn, for each method and mode.
        num_samples: Noisy samples per image; replaces ``certifier.num_samples``.
        seed: Seed of the noise; replaces ``certifier.seed``.
        ids: Certify only these images.
        max_images: Certify only the first so many images; replaces ``max_images`` of the data.
        class_indices: Index of the network's logit for each class of the data, as in a run.
        weights_key: Name of the weights in the checkpoint, if it contains several sets.
        trainer: Device, precision and threads.
        progress: Whether to show the progress on stderr.

    Returns:
        The costs, see :class:`Plan`.

    Raises:
        InputError: If a setting, a file or an image cannot be used.
    """
    use_threads(trainer.threads)
    if not 0 < seconds <= 600:
        raise InputError(f"seconds must be a time of at most 600, got {seconds}")
    others = _methods(methods)
    certifier = with_samples(certifier, num_samples, seed)
    network, data = open_network(network, checkpoint, weights_key), as_image_data(data)
    samples = read_samples(data, ids, max_images)
    loop = make_trainer(trainer)
    device = loop.strategy.root_device
    enough = copy.copy(certifier)  # too few samples are part of the answer, not an error
    enough.num_samples = max(certifier.num_samples, 10**6)
    samples = check_run(enough, network, data, samples, targets, class_indices).samples
    subject = _subject(samples[0], network, targets, device)
    wanted = _Mode(trainer.precision, certifier.memory_format, certifier.compile_mode)
    modes = list(dict.fromkeys([wanted, *_MODES, *(_compiled(wanted, device) if compiled else ())]))
    todo = [(certifier.attribution, mode) for mode in modes] + [(method, wanted) for method in others]
    shown = track(todo, "timing samples", console=Console(stderr=True), disable=not progress)
    costs = [_cost(certifier, method, network, subject, mode, trainer, seconds) for method, mode in shown]
    devices = max(1, loop.num_devices * loop.num_nodes)
    own, other = costs[: len(modes)], costs[len(modes) :]
    return Plan(len(samples), certifier.num_samples, devices, device.type, own, other)


def _compiled(wanted: "_Mode", device: torch.device) -> list["_Mode"]:
    """The configured mode with the network compiled; without CUDA graphs, there is one way to do it."""
    modes = get_args(CompileMode) if device.type == "cuda" else ("default",)
    return [wanted._replace(compile_mode=mode) for mode in modes]


def _methods(wanted: Literal["all"] | list[str] | None) -> list[Attribution]:
    """The methods with these names, with their default settings."""
    known = {kind.__name__: kind for kind in subclasses(Attribution) if not _required(kind)}
    if wanted is None:
        return []
    if wanted == "all":
        return [kind() for kind in known.values() if is_own(kind)]
    names = several("methods", wanted, "[GradCAM, Gradient]")
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise InputError(
            f"methods: {unknown!r} is no method without required arguments; these are {', '.join(sorted(known))}"
        )
    return [known[name]() for name in names]


def _required(kind: type[Attribution]) -> bool:
    """Whether a method cannot be made without arguments."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(kind).parameters.values()
    return any(one.default is one.empty and one.kind not in kinds for one in parameters)


def _subject(sample: Sample, network: nn.Module, targets: Targets, device: torch.device) -> Subject:
    """The image, with its class: the label, or the prediction."""
    image, name = sample.image.to(device), f"image {sample.id}"
    with frozen(network.to(device)), torch.no_grad():
        logits = logits_of(without_denoiser(network), image[None], name)
    return Subject(image, int(sample.target) if targets == "label" else int(logits.argmax()), str(sample.id))


def _cost(
    certifier: Certifier,
    method: Attribution,
    network: nn.Module,
    subject: Subject,
    mode: "_Mode",
    trainer: TrainerOptions,
    seconds: float,
) -> Cost:
    """The cost of a method in one mode, on a copy of the network."""
    precision, memory_format, compile_mode = mode
    other = copy.copy(certifier)
    other.attribution, other.memory_format, other.compile_mode = method, memory_format, compile_mode
    try:
        check_score(method, certifier.certificates)
        check_compile_mode(compile_mode, method, certifier.batch_size, certifier.fold_batch_norm)
    except InputError as error:
        return Cost(repr(method), *mode, refused=str(error))
    plugin = make_trainer(replace(trainer, precision=precision)).precision_plugin
    layout = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    own = plugin.convert_module(copy.deepcopy(network)).to(memory_format=layout)
    with plugin.predict_step_context():
        image = plugin.convert_input(subject.image)
        return measure(other, own, subject._replace(image=image), precision, seconds, _PATIENCE)
