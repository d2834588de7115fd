"""The settings of a certification as loggers show them: one column for each number."""

import json
from typing import Any

from lit_certattr.certification import Certifier


def certification_settings(certifier: Certifier) -> dict[str, Any]:
    """Plain settings, the same for training and for runs of certification.

    Args:
        certifier: The certifier.

    Returns:
        The settings of the certifier, with ``sigma`` as a number, and of each certificate its type, ``alpha`` and,
        where it has them, ``top_k``, ``tau`` and ``bound``.
    """
    certificates = {
        name: {"type": type(certificate).__name__, "alpha": certificate.alpha}
        | {key: value for key in ("top_k", "tau", "bound") if (value := getattr(certificate, key, None)) is not None}
        for name, certificate in certifier.certificates.items()
    }
    plain: dict[str, Any] = json.loads(json.dumps(certificates))  # no tuples: files of settings are plain YAML
    return certifier.settings() | {"sigma": certifier.noise.sigma, "certificates": plain}
