"""Train image classifiers with robust attributions, and certify those attributions."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_certattr.callbacks import CertificationCallback
    from lit_certattr.certification import Certifier
    from lit_certattr.interactive import certify
    from lit_certattr.modules import RobustClassifier

__all__ = ["CertificationCallback", "Certifier", "RobustClassifier", "certify"]
__version__ = "0.1.0"

_HOMES = {
    "CertificationCallback": "callbacks",
    "Certifier": "certification",
    "RobustClassifier": "modules",
    "certify": "interactive",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing before (PEP 562): Lightning and the loggers take seconds."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if not name.startswith("_") and (Path(__file__).parent / name / "__init__.py").is_file():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, which are not all loaded yet."""
    return sorted({*globals(), *__all__})
