"""What the network answered for an image, and whether that is its label, with names of classes where they are known."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NO_LABEL = -1


class Answer(NamedTuple):
    """Classes of one image as words.

    Attributes:
        explained: The class that the map explains.
        predicted: The class that the network predicts for the image without noise; empty if unknown.
        label: The label of the image; empty if unknown.
        right: Whether the prediction is the label; ``None`` if one of the two is unknown.
    """

    explained: str
    predicted: str
    label: str
    right: bool | None

    @property
    def verdict(self) -> str:
        """Whether the network is right, in a word; empty if unknown."""
        return {True: "right", False: "wrong", None: ""}[self.right]

    def in_words(self, chosen: str = "") -> list[str]:
        """What the page says about the classes of the image, in a few words each.

        Args:
            chosen: How the explained class was chosen, if that needs to be said.
        """
        words = [f"explained class: {self.explained}{chosen}"]
        if self.predicted not in ("", self.explained):
            words.append(f"prediction: {self.predicted}")
        words.append(f"label: {self.label or 'unknown'}")
        return [*words, f"the network is {self.verdict}"] if self.verdict else words


def answer(facts: Mapping[str, Any], target: Any) -> Answer:
    """The classes of one image.

    Args:
        facts: What the run recorded about the image: numbers of classes, and names where they are known.
        target: Number of the explained class.

    Example:
        >>> answer({"label": 3, "prediction": 5, "prediction_name": "cat"}, 5)
        Answer(explained='cat (5)', predicted='cat (5)', label='3', right=False)
    """
    label, predicted = facts.get("label"), facts.get("prediction")
    known = label not in (None, NO_LABEL)
    names = {str(facts[kind]): facts.get(f"{kind}_name") for kind in ("label", "prediction") if kind in facts}
    names[str(target)] = facts.get("target_name") or names.get(str(target))
    return Answer(
        class_in_words(names.get(str(target)), target),
        "" if predicted is None else class_in_words(names.get(str(predicted)), predicted),
        class_in_words(names.get(str(label)), label) if known else "",
        label == predicted if known and predicted is not None else None,
    )


def class_in_words(name: Any, number: Any) -> str:
    """A class by name and number, or by its number alone.

    Args:
        name: Name of the class; ``None`` if unknown.
        number: Number of the class.
    """
    return str(number) if name is None or str(name) == str(number) else f"{name} ({number})"


def how_many_right(answers: Sequence[Answer]) -> tuple[int, int]:
    """How many predictions are right, and of how many images this is known.

    Args:
        answers: Answers of all images.
    """
    known = [one.right for one in answers if one.right is not None]
    return sum(known), len(known)
