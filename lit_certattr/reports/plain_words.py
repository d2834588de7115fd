"""The parts of ``report.html`` that need no mathematics: what the page does not say, and what its words mean."""

from collections.abc import Iterator, Mapping

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import CountsPredictions, HasVerdicts, LabelsPixels


def limits(results: Mapping[str, Result], num_images: int) -> Iterator[tuple[str, str]]:
    """What a reader might take from the page although it does not say it: a heading and a sentence each.

    Args:
        results: Results of one image by name.
        num_images: Number of images of the run.
    """
    budget = next(iter(results.values())).change_budget
    yield (
        "Not that the map is right.",
        "A map can be certified and still point at the wrong part of the image. The certificate says that small "
        "changes of the image cannot change the map, not that the map explains the network well.",
    )
    yield (
        "Not that the network is right.",
        "The map of a wrong answer can be certified, too. Where labels are known, the page says for each image whether "
        "the network is right.",
    )
    yield (
        "Not for other images.",
        f"Everything here is about {'this image' if num_images == 1 else f'these {num_images} images'}. Nothing "
        "follows for an image that is not on this page.",
    )
    yield (
        "Not for larger or other changes.",
        "Changes beyond the stated size are not covered. "
        + (
            "Of the kinds of changes, only the listed ones are covered."
            if budget.definition
            else "A shift, a rotation or another camera usually changes an image by far more than that."
        ),
    )
    yield (
        "Not for the network without noise.",
        "The certificates are about averages or votes over noisy copies of the image. "
        + (
            "This includes the prediction. The single answer and the single map of an image without noise may differ."
            if any(isinstance(result, CountsPredictions) for result in results.values())
            else "The single map of an image without noise, and the predicted class, may change."
        ),
    )
    yield (
        "Not with certainty.",
        "Each statement is true with the stated probability. This probability is about the random noise that was "
        "drawn, not about the choice of the images.",
    )
    if any(isinstance(result, LabelsPixels) for result in results.values()):
        yield (
            "Not that the rest is unstable.",
            "Where a certificate abstains, the samples did not decide; more samples may.",
        )
    elif any(isinstance(result, HasVerdicts) for result in results.values()):
        yield (
            "Not that the rest is false.",
            "A claim that is not shown may still be true; the samples did not decide, and more samples may.",
        )


def glossary(results: Mapping[str, Result], regions: bool, noisy_accuracy: bool) -> Iterator[tuple[str, str]]:
    """The words that the page uses, each with its meaning.

    Args:
        results: Results of one image by name.
        regions: Whether the values of maps belong to regions.
        noisy_accuracy: Whether the page has noisy accuracies.
    """
    budget = next(iter(results.values())).change_budget
    labels = any(isinstance(result, LabelsPixels) for result in results.values())
    one = "region" if regions else "pixel"
    yield (
        "attribution map",
        f"a score for each {one} of an image: how much it matters to the network for the explained class",
    )
    yield "explained class", "the class that the map is about; the section “How far this goes” says how it was chosen"
    yield "noisy copy", "the image with random noise; a sample is one noisy copy with its map"
    yield "smoothed map", "what many noisy copies say together, by average or by vote"
    if regions:
        yield "region", "a part of the image that has one score"
    if labels:
        yield "top K", f"the {one}s with the highest scores; K says how many, e.g. 10 % of all"
        yield "certified important", f"the {one} stays in the top K; certified unimportant: it stays outside"
        yield "abstain", "the samples are too few to decide"
    if any(isinstance(result, HasVerdicts) for result in results.values()):
        yield (
            "holds, refuted, not shown",
            "the statement about the smoothed map is certified to be true; certified to be false; neither of the two",
        )
    if budget.definition:
        yield "radius", "the size (length) below which no change can break what is certified"
    else:
        yield (
            "radius",
            "the size below which no change can break what is certified, as an l2 length: the root of the sum of the "
            "squares of all changes of values, which lie between 0 (black) and 1 (white)",
        )
    yield "σ (sigma)", "the strength of the noise"
    yield "α (alpha)", "the probability with which something that is certified about one image may be false"
    if noisy_accuracy:
        yield "noisy accuracy", "the share of the noisy copies that the network predicts as the explained class"
