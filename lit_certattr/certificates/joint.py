"""One statement about several certificates of an image, at the sum of their alphas."""

from collections.abc import Mapping

from lit_certattr.certificates.capabilities import HasClauses
from lit_certattr.certificates.prediction_result import class_in_words
from lit_certattr.certificates.result import Result
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number
from lit_certattr.statistics.rounding import at_least, confidence, exact, total


def joint_statement(
    results: Mapping[str, Result], radius: float | None = None, explained: str | None = None
) -> str | None:
    """What several certificates of one image say together, e.g. of the prediction and of a claim about its map.

    Each certificate errs with a probability of at most its alpha, so all of them hold together at the sum of the
    alphas (Bonferroni), whatever their samples have in common. The sum is over all certificates that could say
    something (:class:`~lit_certattr.certificates.capabilities.HasClauses`), not only over those that do, since which
    ones do depends on the samples.

    Args:
        results: Results of one image, by the name of the certificate.
        radius: l2 radius, in pixel units; ``None`` for the largest one up to which everything holds that holds
            somewhere.
        explained: The explained class in words, e.g. ``"'tabby cat'"``; ``None`` for its index.

    Returns:
        The statement; ``None`` if fewer than two certificates say something at the radius.

    Raises:
        InputError: If the radius is not a positive number, or the results are of several images.
    """
    if radius is not None and not 0 < real_number("radius", radius) < float("inf"):
        raise InputError(f"radius must be a positive number, got {radius}")
    images = sorted({str(one.sampling["image_id"]) for one in results.values() if "image_id" in one.sampling})
    if len(images) > 1:
        raise InputError(f"the results are of several images, {' and '.join(images[:2])}: give those of one image")
    able = {name: one for name, one in results.items() if isinstance(one, HasClauses) and one.radius_norm == "l2"}
    if explained is None:
        targets = {one.sampling.get("target") for one in able.values()}
        explained = class_in_words(targets.pop() if len(targets) == 1 else None)
    said = [[clause for clause in one.clauses(explained) if clause.radius >= (radius or 0.0)] for one in able.values()]
    clauses = [clause for own in said for clause in own]
    if sum(map(bool, said)) < 2:
        return None
    measure = next(iter(able.values())).change_budget.measure  # the same for all, since they share the noise
    within = at_least(min(clause.radius for clause in clauses)) if radius is None else exact(radius)
    alpha = total(one.alpha for one in able.values())
    return (
        f"With probability at least {confidence(alpha)}, all of the following at once for every perturbation with "
        f"{measure} at most {within}: {', and '.join(clause.text for clause in clauses)}."
    )
