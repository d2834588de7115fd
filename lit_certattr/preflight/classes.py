"""Whether labels and class names belong to the logits of a network."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from lit_certattr.data import NO_LABEL, ClassMap, ImageDataModule, SampleSet
from lit_certattr.devices import wide
from lit_certattr.errors import InputError
from lit_certattr.preflight.network import logits_of

_FEWEST_LABELLED, _MOST_LABELLED = 5, 32
"""Smallest and largest number of labelled images for the check of the accuracy."""


@attrs.frozen
class Classes:
    """The images to certify, with logits of the network as labels, and the names of the logits.

    Attributes:
        samples: The images; their targets are numbers of logits, or -1.
        names: Name of each logit, ``""`` for a logit without a name; an empty list if no logit has one.
    """

    samples: SampleSet
    names: list[str]


def match_classes(
    data: ImageDataModule,
    samples: SampleSet,
    num_logits: int,
    network: str,
    class_indices: Sequence[int] | str | Path | None = None,
) -> Classes:
    """Match the labels and class names of data with the logits of a network.

    Without ``class_indices`` data with class names must have exactly as many as the network has logits (two folders
    beside 1,000 logits would name the first two logits, wrongly), and no label may be beyond the logits.

    Args:
        data: Data whose ``setup`` has run.
        samples: Its images that are used.
        num_logits: Number of logits of the network.
        network: Name of the network, for the message.
        class_indices: The logit of each class of the data, in the order of its class names; or the path of a file that
            names the logits (:class:`~lit_certattr.data.ClassMap`).

    Raises:
        InputError: If the number of classes does not fit the logits, an index is no logit, or the file cannot be read
            or does not name a class.
    """
    names = list(getattr(data, "class_names", []))
    renamed = [""] * num_logits
    if isinstance(class_indices, str | Path):
        if not names:
            raise InputError(f"class_indices: the data has no class names to look up in {class_indices}")
        named = ClassMap(class_indices)
        class_indices = named.indices(names)
        renamed = [named.names.get(index, "") for index in range(num_logits)]
    if class_indices is None:
        needed = max(len(names), 1 + max(samples.targets, default=NO_LABEL))
        if needed > num_logits or (names and needed < num_logits):
            raise InputError(
                f"the data has {needed} classes{_listed(names)}, but {network} has {num_logits} logits: give "
                f"--class_indices with the logit of each class, in this order, or with a file that names the logits; "
                f"or {_other_remedy(data)}"
            )
        return Classes(samples, names)
    if len(class_indices) != len(names) or len(set(class_indices)) < len(class_indices):
        raise InputError(
            f"class_indices must give each of the {len(names)} classes{_listed(names)} another logit, "
            f"got {list(class_indices)}"
        )
    outside = next((index for index in class_indices if not 0 <= index < num_logits), None)
    if outside is not None:
        raise InputError(f"class_indices: {network} has no logit {outside}, it has logits 0 to {num_logits - 1}")
    for index, name in zip(class_indices, names, strict=True):
        renamed[index] = name
    targets = [NO_LABEL if target == NO_LABEL else class_indices[target] for target in samples.targets]
    return Classes(samples.relabelled(targets), renamed)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f" ({shown})" if names else ""


def _other_remedy(data: ImageDataModule) -> str:
    if hasattr(data, "labelled"):  # a folder, whose sub-folders need not be classes
        return "set data.init_args.labels to false if its folders are no classes of this network"
    return "use the network that was trained on these classes"


def accuracy_warning(model: nn.Module, samples: SampleSet) -> str | None:
    """A warning if a network is no better than chance on clean labelled images; ``None`` otherwise.

    At most 32 labelled images are used, spread over the data; with fewer than 5 there is no warning.

    Args:
        model: The network, in eval mode.
        samples: Images whose targets are its logits, or -1.
    """
    labelled = [index for index, target in enumerate(samples.targets) if target != NO_LABEL]
    chosen = labelled[:: -(-len(labelled) // _MOST_LABELLED) or 1]
    if len(chosen) < _FEWEST_LABELLED:
        return None
    with torch.no_grad():
        logits = [logits_of(model, samples[index].image[None], f"image {samples.ids[index]}") for index in chosen]
    return at_chance(torch.cat(logits), [samples.targets[index] for index in chosen])


def at_chance(logits: Tensor, labels: Sequence[int]) -> str | None:
    """Whether logits suggest that the network gets images of another kind than it was trained on.

    Two signs: too few images are classified right to tell the accuracy from ``1 / C`` (one-sided exact binomial test
    at 5 %), or the network gives no class of any image much more than ``1 / C``.

    Args:
        logits: Logits ``[n, C]`` of clean images.
        labels: Their classes.

    Returns:
        A description of the sign and the likely remedy, or ``None``.

    Example:
        >>> at_chance(20 * torch.eye(10), list(range(10))) is None
        True
        >>> at_chance(20 * torch.eye(10), [9, *range(9)])[:43]
        'only 0 of 10 clean labelled images are clas'
    """
    count, num_classes = logits.shape
    right = int((logits.argmax(1).cpu() == torch.as_tensor(labels)).sum())
    confidence = float(wide(logits).softmax(1).amax(1).mean())
    chance = 1 / num_classes
    if right / count < (1 + chance) / 2 and binomtest(right, count, chance, alternative="greater").pvalue > 0.05:
        reason = f"only {right} of {count} clean labelled images are classified right, no better than chance"
    elif confidence < 1.5 * chance and confidence < chance + 0.1:
        reason = f"the network is undecided: its mean confidence is {confidence:.2g} on {count} clean labelled images"
    else:
        return None
    return (
        f"{reason}; if the network expects normalised images, make normalisation its first layer: "
        "nn.Sequential(Normalize(mean, std), network) with lit_certattr.models.Normalize"
    )
