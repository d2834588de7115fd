"""The quantities of an image that attacks can lower, whatever its certificates are."""

from collections.abc import Iterator, Mapping

from lit_certattr.certificates import Result
from lit_certattr.certificates.quantity import Quantity, quantities_of


def quantities(results: Mapping[str, Result]) -> Iterator[Quantity]:
    """The quantities of the certificates of one image.

    Kinds of certificate that have registered none (:func:`~lit_certattr.certificates.quantity.quantities_of`) have
    none, and neither have those of other norms than that of the attacks, l2.

    Args:
        results: Results by name.
    """
    for name, result in results.items():
        if result.radius_norm == "l2":
            yield from quantities_of(result, name)
