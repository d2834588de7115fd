"""Certificates by name."""

from collections.abc import Mapping
from typing import Any

from lit_certattr.certificates import Certificate
from lit_certattr.errors import InputError
from lit_certattr.settings import instance, several


def named_certificates(certificates: Any) -> dict[str, Certificate]:
    """The certificates by name, from a mapping or a sequence of them.

    Args:
        certificates: A mapping from names to certificates, or a sequence, whose members get their own names.

    Raises:
        InputError: If it is neither, two certificates have the same name, or a name cannot be the name of a column.

    Example:
        >>> from lit_certattr.certificates import CosineCertificate, PixelCertificate
        >>> list(named_certificates([PixelCertificate(), CosineCertificate()]))
        ['pixel', 'cosine']
    """
    if isinstance(certificates, Mapping):
        named = dict(certificates)
        kinds = list(named.values())
    else:
        kinds = list(several("certificates", certificates, "[PixelCertificate()]"))
        named = {}
    for certificate in kinds:
        instance("a certificate", certificate, Certificate, "PixelCertificate()")
    named = named or {certificate.name: certificate for certificate in kinds}
    if len(named) < len(kinds):
        raise InputError("two certificates of one kind need names: certificates={'coarse': ..., 'fine': ...}")
    if not named:
        raise InputError("certificates must name at least one certificate")
    for name in named:
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"certificate name {name!r} must be letters, digits and underscores")
    return named
