"""One pass of noise through the network, every certificate from it."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution, as_method, frozen, score_of
from lit_certattr.certificates import Accumulator, Certificate, Result
from lit_certattr.certificates.result import regions_of
from lit_certattr.certification.compile_mode import check_compile_mode
from lit_certattr.certification.facts import facts_to_share, precision
from lit_certattr.certification.looks import check_sample_size, possible_looks
from lit_certattr.certification.named import named_certificates
from lit_certattr.certification.noisy_majority import NOISY_MAJORITY, Majority, noisy_majority
from lit_certattr.certification.noisy_predictions import NoisyPredictions
from lit_certattr.certification.rounds import Rounds, check_together, wanted
from lit_certattr.certification.sampling import MemoryFormat, Sampler
from lit_certattr.certification.score import check_score
from lit_certattr.certification.share import Share
from lit_certattr.certification.stopping import LOOK_SHARES, Look, StoppingRule
from lit_certattr.errors import InputError
from lit_certattr.models import Denoised, explained_part, fold_batch_norm, without_denoiser
from lit_certattr.models.compiled_network import CompileMode, LastCompiled
from lit_certattr.partitions import count_regions
from lit_certattr.preflight import (
    CHECKS,
    Findings,
    Watch,
    check_classes,
    check_compiled,
    check_function,
    check_images,
    check_network,
    check_not_compiled,
    check_score_function,
    check_shape,
    check_targets,
    explain,
    failures,
    logits_of,
)
from lit_certattr.settings import instance, several, whole_number
from lit_certattr.settings.foreign import foreign_identity
from lit_certattr.smoothing import (
    MapBlock,
    Noise,
    content_id,
    normal_stream,
)
from lit_certattr.smoothing.normals import stream_of
from lit_certattr.statistics import look_share

_MOST_SAMPLES = 2**31 - 1  # votes are counted in 32 bits


class Certifier:
    """Certifies the attribution maps of images.

    The work is ``num_samples`` forward and backward passes per image; the noisy maps are ranked once for all
    certificates and only counts are kept, so memory does not grow with ``num_samples``. The noise is a
    function of (seed, image id, sample index): it has the same bits for every batch size, order of the images,
    number of devices, and point at which a run was resumed.

    By default each process certifies images of its own. With certificates of ``sync_on_compute=True`` all processes
    certify the same images together: each draws its share of the samples, and all get the result. They must hold the
    same network, images and settings, which are compared before anything is sampled; if they differ, or if one process
    fails, all processes stop.

    Args:
        attribution: The attribution method whose map is certified.
        noise: Noise law of the smoothing.
        certificates: Certificates to compute; a mapping names them, a sequence uses their own names. Each has
            its own ``alpha``; the statements of several certificates hold together at the sum of their alphas.
        num_samples: Noisy samples per image; the upper limit per image if ``stopping`` is set.
        batch_size: Samples evaluated at once. 16 to 64 are fastest at 224x224 on a CPU, 128 to 256 at 28x28. ``"auto"``
            takes 32 images of 224x224 on a CPU and 512 on an accelerator, in proportion for other sizes, and evaluates
            them in halves, quarters, ... when memory runs out.
        seed: Seed of the noise.
        memory_format: Layout of the noisy images; recorded, since it changes the rounding inside the network.
        fold_batch_norm: Certify the network with its batch normalisation folded into the layers before it
            (:func:`~lit_certattr.models.fold_batch_norm`): fewer operations, and the same function up to rounding.
            Different rounding makes a different explainer, so the setting is recorded; the folded network gives the
            prediction, too.
        compile_mode: Certify the network as ``torch.compile`` computes it, in this mode: ``"default"``, or
            ``"reduce-overhead"``, which uses CUDA graphs on a GPU; ``None`` as it is. The compiled network is another
            explainer, like a folded one, so the mode is recorded, and it gives the prediction, too; attacks search
            with the network as it is, and are judged with the compiled one. Compiling takes seconds to minutes before
            the first image. Needs a ``batch_size`` that is a number, and a method that sees the network from outside.
        stopping: Rules that may end the sampling of an image early; it ends as soon as one rule says so. Rules are
            asked at looks, when the number of samples reaches a power of two. The last look spends half of alpha and
            the others share the rest equally, so all statements stay valid for every rule
            (:mod:`lit_certattr.certification.stopping`), and a pixel needs a few more votes than with a fixed number
            of samples. Without rules: exactly ``num_samples``, with all of alpha.
        class_samples: Noisy copies whose majority is the explained class, where this is asked for
            (``targets="noisy_majority"``): one forward pass each, besides the samples of the certificates. Their noise
            is independent of that of the samples, so the class is fixed before the certificates see any noise.

    Attributes:
        class_seed: Seed of the noise by which ``targets="noisy_majority"`` chooses the class; ``None`` for ``seed``.
            An audit with fresh noise chooses the class of a run again with the seed of the run.

    Raises:
        InputError: If a number is out of range, two certificates share a name, a certificate does not cover the
            noise or does not support early stopping, or the method or another setting does not go with
            ``compile_mode``.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.certificates import PixelCertificate
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate(top_k=[0.25])], num_samples=50)
        >>> results = certifier(net, torch.rand(2, 1, 4, 4))
        >>> results[0]["pixel"].shares()["certified"].tolist()
        [1.0]
    """

    def __init__(
        self,
        attribution: Attribution,
        noise: Noise,
        certificates: Sequence[Certificate] | Mapping[str, Certificate],
        num_samples: int = 1000,
        batch_size: int | Literal["auto"] = 64,
        seed: int = 0,
        memory_format: MemoryFormat = "channels_last",
        stopping: Sequence[StoppingRule] = (),
        fold_batch_norm: bool = False,
        class_samples: int = 100,
        compile_mode: CompileMode | None = None,
    ) -> None:
        attribution = as_method(attribution)
        instance("noise", noise, Noise, "GaussianNoise(sigma=0.25)")
        num_samples = whole_number("num_samples", num_samples, least=1)
        if num_samples > _MOST_SAMPLES:
            raise InputError(f"num_samples must be at most {_MOST_SAMPLES}, got {num_samples}")
        if batch_size != "auto":
            batch_size = whole_number('batch_size, if not "auto",', batch_size, least=1)
        if memory_format not in get_args(MemoryFormat):
            raise InputError(f"memory_format must be one of {', '.join(get_args(MemoryFormat))}, got {memory_format!r}")
        named = named_certificates(certificates)
        for certificate in named.values():
            certificate.check_noise(noise)
        check_score(attribution, named)
        self.attribution, self.noise, self.certificates = attribution, noise, named
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, whole_number("seed", seed)
        self.memory_format: MemoryFormat = memory_format
        self.fold_batch_norm = fold_batch_norm
        self.compile_mode = compile_mode
        check_compile_mode(compile_mode, attribution, batch_size, fold_batch_norm)
        self._compiled = LastCompiled()
        self.class_samples = whole_number("class_samples", class_samples, least=1)
        self.class_seed: int | None = None
        self.stopping = several("stopping", stopping, "[Futility()]")
        for rule in self.stopping:
            rule.check(named)
        for name, certificate in named.items():
            if self.stopping and not certificate.anytime:
                raise InputError(
                    f"{name} does not support early stopping; remove stopping, or certify it in a separate run"
                )

    def looks(self, map_shape: tuple[int, int]) -> tuple[int, ...]:
        """Numbers of samples at which sampling may stop; only ``num_samples`` if there are no stopping rules.

        The first is the smallest power of two with which every certificate can certify something.

        Args:
            map_shape: Height and width of the maps.
        """
        if not self.stopping:
            return (self.num_samples,)
        pixels = map_shape[0] * map_shape[1]
        return possible_looks(self.certificates, self.num_samples, pixels, lambda number: look_share(1, number))

    def check_sample_size(self, map_shape: tuple[int, int]) -> None:
        """Refuse a number of samples with which a certificate cannot certify any pixel.

        Args:
            map_shape: Height and width of the maps.

        Raises:
            InputError: If there are too few samples; the message names the smallest number that is enough.
        """
        looks = len(self.looks(map_shape))
        pixels, share = map_shape[0] * map_shape[1], look_share(looks, looks)
        check_sample_size(self.certificates, self.num_samples, pixels, share)

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor | Sequence[int] | Literal["noisy_majority"] | None = None,
        ids: Sequence[str] | None = None,
        on_block: Callable[[int], None] | None = None,
        together: bool = False,
    ) -> list[dict[str, Result]]:
        """Certify a batch of images, one after the other.

        The mode, flags and gradients of the model stay unchanged. Works inside ``torch.no_grad`` and
        ``torch.inference_mode``.

        Args:
            model: Network from images in [0, 1] to logits ``[B, num_classes]``.
            images: Images ``[B, C, H, W]`` in [0, 1], finite, on the network's device.
            targets: Class to explain for each image, ``[B]``; ``None`` takes the network's prediction for the
                clean image (of a :class:`~lit_certattr.models.Denoised` network: the classifier's), and
                ``"noisy_majority"`` the class that most of ``class_samples`` noisy copies are predicted as. The class
                is fixed before sampling, and recorded.
            ids: Stable id of each image, which determines its noise; ``None`` uses a hash of the pixels.
            on_block: Called with the number of samples of each finished block, for a progress bar.
            together: Whether all processes of the group of ``torch.distributed`` work on each image together: each
                evaluates its share of the blocks of samples, and all get the result, which has the same bits as that of
                one process (:mod:`lit_certattr.certification.rounds`). Every process must make the call with the same
                arguments, which are compared. Without such a group it makes no difference.

        Returns:
            One mapping per image, from the names of the certificates to their results.

        Raises:
            InputError: If an image, a target, the network, the method or the number of samples cannot be used; nothing
                is sampled then. Also if the network later fails on noisy images or mixes the images of a whole block,
                or if the map of an image after sampling differs from its map before; and if the settings do not allow
                ``together``, or the processes differ.
        """
        if together:
            check_together(self.certificates, self.stopping)
        own, given = Share.of_this_process(self.certificates), model
        crew = Share.of_group() if together else Share()
        deciding = crew if together else own
        with deciding.in_step() as step, torch.inference_mode(False), torch.no_grad(), frozen(check_network(model)):
            images = check_images(images, ids)
            majority = isinstance(targets, str) and targets == NOISY_MAJORITY
            labels = None if majority or targets is None else check_targets(targets, len(images))
            names = [f"image {index}" for index in range(len(images))] if ids is None else [f"image {i}" for i in ids]
            if self.fold_batch_norm or self.compile_mode:  # which could not name what is wrong with the network
                logits_of(model, images[:1], names[0])
            model = self.network(model, images[:1])
            ids = [content_id(image) for image in images] if ids is None else list(ids)
            for image, image_id in zip(images, ids, strict=True):
                self.noise.check(image, image_id)
            # One by one: the class of an image near a tie must not depend on the images beside it.
            classifier = without_denoiser(model)
            if classifier is not model:
                logits_of(model, images[:1], names[0])
            logits = [logits_of(classifier, image, name) for image, name in zip(images.split(1), names, strict=True)]
            classes = [int(one.argmax()) for one in logits] if labels is None else labels
            check_classes(classes, logits[0].shape[1])
            placed = [self.placed(image, image_id) for image, image_id in zip(images, ids, strict=True)]
            map_shape = placed[0].preflight(model, images[:1], classes[0], ids[0], names[0]).map_shape
            rules: list[dict[str, Any]] = [{"target_rule": "predicted" if targets is None else "given"}] * len(images)
            if majority:
                chosen = [one._majority(model, *rest) for one, *rest in zip(placed, images, ids, names, strict=True)]
                classes, rules = [one.target for one in chosen], [self._majority_rule(one) for one in chosen]
            ready: list[_Ready] = []
            for one, *rest in zip(placed, images.split(1), ids, classes, rules, names, strict=True):
                prepared = one._prepare(model, *rest, map_shape)
                # Accumulators wait for the first image alone: those of a whole batch may need much memory.
                ready.append(prepared._replace(accumulators=None) if ready else prepared)
            places = {f"{what} of {one.image_id}": words for one in ready for what, words in one.places().items()}
            fixed = {"class_samples": self.class_samples} if majority else {}
            fixed |= {"threads": torch.get_num_threads()} if crew.world > 1 else {}  # they decide about the last bits
            step.agree(lambda: self._facts_to_share(given, images, classes, ids) | places | fixed)
            return [one.certifier._certify(own, crew, model, one, on_block) for one in ready]

    def _majority(self, model: nn.Module, image: Tensor, image_id: str, name: str) -> Majority:
        seed = self.seed if self.class_seed is None else self.class_seed
        sampler = attrs.evolve(self._sampler, seed=seed)
        return noisy_majority(model, sampler, image, image_id, self.class_samples, name)

    def _majority_rule(self, chosen: Majority) -> dict[str, Any]:
        """How the class was chosen, as every result records it."""
        return {
            "target_rule": NOISY_MAJORITY,
            "class_samples": self.class_samples,
            "class_votes": chosen.votes,
            "class_generator": self.noise.generator(stream_of("cpu")),
        }

    def placed(self, image: Tensor, image_id: str) -> "Certifier":
        """The certifier for one image: what the clean image or its id fixes is fixed, before anything is sampled.

        See :meth:`Attribution.placed`, :meth:`Noise.placed` and :meth:`Certificate.placed`.

        Args:
            image: The clean image ``[C, H, W]``.
            image_id: Id of the image.

        Returns:
            This certifier, or a copy.

        Raises:
            InputError: If the method or a certificate cannot be used for this image.
        """
        method, noise = self.attribution.placed(image, image_id), self.noise.placed(image, image_id)
        certificates = {name: one.placed(image, image_id) for name, one in self.certificates.items()}
        same = all(one is self.certificates[name] for name, one in certificates.items())
        if method is self.attribution and noise is self.noise and same:
            return self
        placed = copy.copy(self)
        placed.attribution, placed.noise, placed.certificates = method, noise, certificates
        return placed

    def preflight(self, model: nn.Module, image: Tensor, target: int, image_id: str, name: str) -> Findings:
        """Check network and method on an image and on a few of its noisy copies, before anything is sampled.

        What must hold is listed in :func:`~lit_certattr.preflight.check_function`.

        Args:
            model: Network that :meth:`network` returned, in eval mode, with frozen parameters.
            image: Image ``[1, C, H, W]``, finite and in [0, 1].
            target: Class to explain.
            image_id: Id of the image.
            name: Name of the image in messages.

        Raises:
            InputError: If something does not hold; the message names it, and the remedy.
        """
        placed, count = self.placed(image[0], image_id), min(2, self.num_samples)
        noisy = next(placed._sampler.noisy_images(image[0], image_id, 0, count))
        if self.compile_mode is not None:
            check_compiled(model, placed.attribution, image, target, name)
        findings = check_function(model, placed.attribution, image, noisy, target, name)
        score = score_of(self.attribution)
        if score is not None and any(certificate.needs_score for certificate in self.certificates.values()):
            if isinstance(model, Denoised) and model.explain_at == "denoised":
                raise InputError(
                    "certificates of the gradient of a probability are about denoiser and classifier together, not "
                    'about the classifier at the denoised image: use Denoised(..., explain_at="image")'
                )
            check_score_function(model, score, image, noisy, target, name, type(self.attribution).__name__)
        return findings

    def check_images_apart(self) -> None:
        """Refuse certificates that add the samples of all processes, for use where processes certify different images.

        Raises:
            InputError: If a certificate does; the message names it.
        """
        for name, certificate in self.certificates.items():
            if certificate.sync_on_compute:
                raise InputError(
                    f"certificate {name!r} has sync_on_compute=True, which would add the votes of different images; "
                    "each process certifies its own here; set sync_on_compute to false"
                )

    def network(self, model: nn.Module, image: Tensor) -> nn.Module:
        """The network that is certified: the given one, its folded copy, or the compiled one.

        The last network that was compiled is kept.

        Args:
            model: The network.
            image: An image ``[1, C, H, W]`` that the network accepts.

        Raises:
            InputError: If it cannot be folded, or is compiled already.
        """
        if self.compile_mode is None:
            return self.uncompiled_network(model, image)
        assert self.batch_size != "auto"
        check_not_compiled(model)
        layout = torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format
        return self._compiled(model, self.compile_mode, self.batch_size, layout)

    def uncompiled_network(self, model: nn.Module, image: Tensor) -> nn.Module:
        """The network that is certified, but as it is, not compiled: it has second derivatives, and its passes count.

        Args:
            model: The network.
            image: An image ``[1, C, H, W]`` that the network accepts.

        Raises:
            InputError: If it cannot be folded.
        """
        return fold_batch_norm(model, image) if self.fold_batch_norm else model

    def block_size(self, image: Tensor) -> int:
        """Number of samples per block.

        Args:
            image: Image ``[C, H, W]``, on its device.
        """
        return self._sampler.block_size(image)

    def _facts_to_share(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Sequence[int],
        ids: Sequence[str],
    ) -> dict[str, Any]:
        facts = facts_to_share(self.certificates, model, images, labels, ids, self._generator(images, ids[0]))
        return {"number of images": len(images)} | self.settings() | facts

    def _generator(self, images: Tensor, image_id: str) -> str:
        return self.noise.generator(normal_stream(self.seed, image_id, images.device))

    def _prepare(
        self,
        model: nn.Module,
        batch: Tensor,
        image_id: str,
        target: int,
        rule: Mapping[str, Any],
        name: str,
        map_shape: tuple[int, int],
    ) -> "_Ready":
        """Refuse what does not fit a batch of one image, before any image is sampled."""
        if self.attribution.partition is not None:  # each image has as many regions as it has
            map_shape = (1, count_regions(self.attribution.partition))
        self.check_sample_size(map_shape)
        clean_map = explain(self.attribution, model, batch, torch.tensor([target], device=batch.device), name)
        check_shape(self.attribution, clean_map, map_shape)
        for certificate in self.certificates.values():
            certificate.check_map(clean_map[0], name)
        accumulators = self.start(batch[0], map_shape)
        watch = Watch(model, self.attribution, batch, clean_map, target, name)
        return _Ready(self, batch[0], image_id, target, rule, watch, accumulators)

    def _certify(
        self, own: Share, crew: Share, model: nn.Module, ready: "_Ready", on_block: Callable[[int], None] | None
    ) -> dict[str, Result]:
        image, image_id, target, watch = ready.image, ready.image_id, ready.target, ready.watch
        looks = self.looks(ready.map_shape)
        shares = [look_share(look, len(looks)) for look in range(1, len(looks) + 1)]
        accumulators = ready.accumulators or self.start(image, ready.map_shape)
        predictions = NoisyPredictions(own.world > 1).to(image.device)
        for certificate in self.certificates.values():
            for end, share in zip(looks, shares, strict=True):
                certificate.check_share(share)
                certificate.check_slack(self.noise, end, image.numel(), share)
        rounds = Rounds(crew, self._sampler, model, image, target, image_id) if crew.world > 1 else None
        deciding = own if rounds is None else crew
        history: list[Look] = []
        drawn, begin = 0, time.perf_counter()
        for end, share in zip(looks, shares, strict=True):
            begins, ends = own.of(drawn, end)
            doing = f"after {drawn} of {looks[-1]} samples: {type(self.attribution).__name__} cannot explain"
            doing += f" noisy copies of image {image_id}"
            if rounds is None:
                blocks = self.blocks(model, image, target, image_id, begins, ends)
            else:
                blocks = rounds(begins, ends, wanted(accumulators), doing)
            for block in blocks:
                with failures(doing, model, image[None]):
                    for accumulator in accumulators.values():
                        accumulator.update(block)
                    predictions.update(block.draw, begins)
                    watch.look_at(block.draw)
                begins += len(block)
                if on_block is not None:
                    on_block(len(block))
            drawn = end
            results = {name: accumulators[name].result(share) for name in self.certificates}
            history.append(Look(drawn, time.perf_counter() - begin, results))
            if deciding.decided_by_first(any(stopping.stop(history) for stopping in self.stopping)):
                break
        watch.check_unchanged()
        sampling = self._sampling(model, ready, looks)
        counts: dict[str, Any] = predictions.compute()
        placed = {
            name: attrs.evolve(result, partition=self.attribution.partition, **counts)
            for name, result in history[-1].results.items()
        }
        return {
            name: attrs.evolve(result, sampling=sampling | self.certificates[name].conditions() | result.places())
            for name, result in placed.items()
        }

    def _sampling(self, model: nn.Module, ready: "_Ready", looks: Sequence[int]) -> dict[str, Any]:
        """How the samples were drawn, as every result records it."""
        sampling = self._own_settings() | {
            "image_id": ready.image_id,
            "target": ready.target,
            **ready.rule,
            "device": ready.image.device.type,
            "generator": self._generator(ready.image, ready.image_id),
            "precision": precision(model, ready.image),
            "threads": torch.get_num_threads(),
            "preflight": list(CHECKS),
        }
        if (class_rule := getattr(self.attribution, "class_rule", None)) is not None:
            sampling["class_rule"] = class_rule
        if (explained := explained_part(model)) is not None:
            sampling["explained"] = explained
        if self.stopping:
            sampling["looks"] = list(looks)
        return sampling

    def start(self, image: Tensor, map_shape: tuple[int, int]) -> dict[str, Accumulator[Result]]:
        """Accumulators that count the samples of an image, one per certificate, by name, with no sample yet.

        Those that need logits come last: the passes for the others may give them.

        Args:
            image: Image ``[C, H, W]``, on its device.
            map_shape: Height and width of the maps.

        Raises:
            InputError: If a certificate does not fit the maps or the device.
        """
        accumulators = {}
        for name, certificate in sorted(self.certificates.items(), key=lambda entry: entry[1].needs_logits):
            certificate.check_device(image.device)
            if self.attribution.partition is not None:
                certificate.check_regions()
            accumulators[name] = certificate.start(self.noise, map_shape, image.numel()).to(image.device)
        return accumulators

    def blocks(
        self, model: nn.Module, image: Tensor, target: int, image_id: str, start: int, end: int
    ) -> Iterator[MapBlock]:
        """The samples ``start .. end - 1`` of one image, in blocks that all certificates share.

        Args:
            model: Network that :meth:`network` returned, in eval mode, with frozen parameters.
            image: Image ``[C, H, W]``.
            target: Class to explain.
            image_id: Id of the image; with ``seed`` it fixes the noise.
            start: Index of the first sample.
            end: Index of the last sample plus one.

        Returns:
            Blocks of at most :meth:`block_size` maps.
        """
        return self._sampler.blocks(model, image, target, image_id, start, end)

    @property
    def _sampler(self) -> Sampler:
        return Sampler(self.attribution, self.noise, self.batch_size, self.seed, self.memory_format)

    def settings(self) -> dict[str, Any]:
        """Everything besides the network and the image that determines the certificates, as plain values.

        For a method, noise, certificate or rule of a class outside this package it also holds digests of the source
        and the state (:func:`~lit_certattr.settings.foreign.foreign_identity`).

        Raises:
            InputError: If one of them holds an object that a record cannot describe.
        """
        parts = {"attribution": self.attribution, "noise": self.noise}
        parts |= {f"certificate {name}": certificate for name, certificate in self.certificates.items()}
        parts |= {f"stopping rule {number}": rule for number, rule in enumerate(self.stopping, start=1)}
        return self._own_settings() | foreign_identity(parts)

    def _own_settings(self) -> dict[str, Any]:
        optional: dict[str, Any] = {}
        if self.stopping:
            optional |= {"stopping": [repr(rule) for rule in self.stopping], "look_shares": LOOK_SHARES}
        if self.fold_batch_norm:
            optional["fold_batch_norm"] = True
        if self.compile_mode is not None:
            optional["compile_mode"] = self.compile_mode
        return optional | {
            "attribution": repr(self.attribution),
            "noise": repr(self.noise),
            "num_samples": self.num_samples,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "memory_format": self.memory_format,
        }


class _Ready(NamedTuple):
    """An image that was checked, and waits for its samples; its certifier is placed for it."""

    certifier: Certifier
    image: Tensor
    image_id: str
    target: int
    rule: Mapping[str, Any]
    watch: Watch
    accumulators: dict[str, Accumulator[Result]] | None

    @property
    def map_shape(self) -> tuple[int, int]:
        """Height and width of its maps."""
        return (self.watch.clean_map.shape[1], self.watch.clean_map.shape[2])

    def places(self) -> dict[str, str]:
        """The parts of the image that the certifier is about: regions, also those of the noise, and masks."""
        one = self.certifier
        return regions_of(one.attribution.partition, one.noise.partition) | {
            f"{what} of {name}": words
            for name, certificate in one.certificates.items()
            for what, words in certificate.places(self.map_shape).items()
        }
