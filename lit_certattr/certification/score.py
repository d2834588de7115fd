"""Which certificates need a method with a score."""

from collections.abc import Mapping

from lit_certattr.attribution import Attribution, score_of
from lit_certattr.certificates import Certificate
from lit_certattr.errors import InputError


def check_score(attribution: Attribution, certificates: Mapping[str, Certificate]) -> None:
    """Refuse certificates of the gradient of a score for a method that has no score.

    Args:
        attribution: The method.
        certificates: The certificates by name.

    Raises:
        InputError: If a certificate needs a score; the message names it.
    """
    for name, certificate in certificates.items():
        if certificate.needs_score and score_of(attribution) is None:
            raise InputError(
                f"{name} is about the gradient of a probability: use attribution ProbabilityGradient, or a method "
                "of your own that has score(model, images, targets) in [0, 1]"
            )
