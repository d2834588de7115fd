"""The quantities of an image that attacks can lower, for certificates of every kind."""

from collections.abc import Iterator, Mapping

from lit_certattr.certificates import Result
from lit_certattr.certificates.quantity import Quantity, quantities_of


def quantities(results: Mapping[str, Result]) -> Iterator[Quantity]:
    """The quantities of the certificates of one image.

    Certificates whose kind has registered none (:func:`~lit_certattr.certificates.quantity.quantities_of`), or whose
    radii are in another norm than l2, the norm of the attacks, have no quantities.

    Args:
        results: Results by name.
    """
    for name, result in results.items():
        if result.radius_norm == "l2":
            yield from quantities_of(result, name)
