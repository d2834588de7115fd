"""Whether a run may go on in a directory that already holds one: with equal settings, or with more images.

Rule. Images may be added to a finished run, also by someone who has looked at its results.

Proof. A statement is about one image, and holds with probability at least 1 - alpha over the noise of that image. The
noise of an image is a function of the seed, the id of the image and the number of the sample, and that of images with
different ids is independent. Whoever decides to add an image knows the noise of the others at most, so given this
decision the noise of the new image still has its law, and so has its statement. Nothing is drawn again for the images
that are there. ∎

The rule needs that no image that was certified is left out, since leaving some out after looking would choose among
them. It does not cover means over the images, whose intervals assume that the number of images does not depend on the
means so far.

Samples cannot be added in this way: a certificate that is computed again, whenever more samples make it better, has
more than one chance to be false. Looks that are declared before sampling share alpha for this purpose
(:mod:`lit_certattr.certification.stopping`); new samples alone, from another seed, give a certificate of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch

from lit_certattr.data import SampleSet
from lit_certattr.errors import InputError
from lit_certattr.records.job_directory import first_difference
from lit_certattr.records.provenance import data_hash
from lit_certattr.records.run_directory import RunDirectory, check_structure

_NAMED = 3
"""Images that a message names."""


@attrs.frozen
class Extension:
    """Images that are added to a finished run.

    Attributes:
        before: Hash of the images of the run so far.
        num_before: Their number.
        num_now: Number of images with those that are added.
    """

    before: str
    num_before: int
    num_now: int

    def record(self) -> dict[str, Any]:
        """What ``provenance.json`` holds of it."""
        return attrs.asdict(self)


def check_resume(
    directory: RunDirectory,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
    samples: SampleSet,
    overwrite: bool = False,
) -> Extension | None:
    """Refuse a directory in which this run cannot begin or go on; the message names what differs.

    Args:
        directory: The directory.
        settings: Settings of the present run.
        about: Provenance of the present run.
        samples: Images of the present run.
        overwrite: Allow any other run; opening the directory would delete it.

    Returns:
        The images that are added to a finished run; ``None`` if the images are the same, or the directory holds no run.

    Raises:
        InputError: If the settings, the network or the images differ in another way; nothing is changed.
    """
    if overwrite or not directory.record.exists():
        directory.check(settings, overwrite)
        return None
    stored, complaint = directory.stored_settings(), f"{directory.path} holds a run"
    check_structure(stored, directory.path, directory.delete)
    if not isinstance(stored, Mapping):
        directory.check(settings)
        return None
    keys = [*settings, *(key for key in stored if key not in settings)]
    differing = [key for key in keys if first_difference(stored.get(key), settings.get(key)) is not None]
    if differing == ["images"]:
        extension = _extension(directory, stored, samples, complaint)
        directory.check({**settings, "images": extension.before})
        return extension
    if differing == ["num_samples"]:
        raise InputError(
            f"{complaint} with other settings (num_samples was {stored.get('num_samples')}, is "
            f"{settings['num_samples']}): samples that are added after looking at a result are one more chance to be "
            "false, which alpha does not cover; certify from new samples alone (another --seed and --output), or "
            "declare the looks before sampling (certifier.stopping)"
        )
    if differing and differing[0] in ("network", "structure"):
        words = network_in_words(directory.provenance(), about, differing[0])
        raise InputError(f"{complaint} of another network: {words}; {directory.delete}")
    directory.check(settings)
    return None


def network_in_words(before: Mapping[str, Any], now: Mapping[str, Any], differs: str) -> str:
    """What differs between the network of a run and the present one.

    Args:
        before: Provenance of the run.
        now: Provenance of the present network.
        differs: ``"network"`` if the weights differ, ``"structure"`` if only the modules do.
    """
    old, new = (place.get("network") or {} for place in (before, now))
    if old.get("class") != new.get("class"):
        return f"it was a {old.get('class')}, is a {new.get('class')}"
    if differs == "structure":
        return "its weights are the same, but not the classes or arguments of its modules"
    olds, news = old.get("tensors"), new.get("tensors")
    if not isinstance(olds, Mapping) or not isinstance(news, Mapping):
        return "its weights differ"
    first = next((name for name in [*news, *olds] if olds.get(name) != news.get(name)), None)
    if first is None:
        return "its weights differ"
    if first not in news or first not in olds:
        return f"it {'no longer' if first not in news else 'now'} has {first}"
    return f"the first weights that differ are those of {first}"


def _extension(directory: RunDirectory, stored: Mapping[str, Any], samples: SampleSet, complaint: str) -> Extension:
    """The images that are added, if those of the run are all there and unchanged, and the run was finished."""
    done = directory.finished()
    known = [index for index, image_id in enumerate(samples.ids) if image_id in done]
    new = [image_id for image_id in samples.ids if image_id not in done]
    if missing := sorted(done - set(samples.ids)):
        more = f", new {some(new)}" if new else ""
        raise InputError(
            f"{complaint} of other images ({len(done)} images, now {len(samples)}: without {some(missing)}{more}); a "
            "run keeps every image that it has certified, since leaving some out after looking at them would choose "
            f"among them; {directory.delete}"
        )
    for index in known:
        if (change := _change(directory, samples, index, stored)) is not None:
            raise InputError(f"{complaint} of other images ({change}); {directory.delete}")
    if new and known and data_hash(samples.subset(known)) == stored.get("images"):
        return Extension(str(stored["images"]), len(known), len(samples))
    if not new:
        raise InputError(f"{complaint} of the same images in another order; {directory.delete}")
    raise InputError(
        f"{complaint} that is not finished, or had its images in another order ({len(done)} images, now "
        f"{len(samples)}: new {some(new)}): finish it with its own images first, then add others; or "
        f"{directory.delete}"
    )


def _change(directory: RunDirectory, samples: SampleSet, index: int, stored: Mapping[str, Any]) -> str | None:
    """What has changed about one image of the run."""
    image, label, image_id = samples[index]
    if int(directory.facts(str(image_id)).get("label", label)) != int(label):
        return f"image {image_id} has another label"
    if str(stored.get("precision")).endswith("-true") and stored.get("precision") != "32-true":
        return None  # the run holds images that are rounded, or wider
    if not torch.equal(directory.read(str(image_id)).image, image.float()):
        return f"image {image_id} has other pixels"
    return None


def some(names: Sequence[str]) -> str:
    """The first few of some names.

    Args:
        names: The names.

    Example:
        >>> some(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
