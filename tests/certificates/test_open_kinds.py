"""Who shows, measures, attacks, stops, stores and audits certificates knows no kind by name: a new one is one file."""

import ast
from pathlib import Path

import pytest

import lit_certattr
from lit_certattr.certificates import Certificate, Result, UnknownResult
from lit_certattr.settings.discovery import is_own, subclasses

PACKAGE = Path(lit_certattr.__file__).parent
ROOMS = ("reports", "metrics", "robustness", "records", "audit")
FILES = sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))
FILES.append(PACKAGE / "certification" / "stopping.py")


def below(base):
    """All classes of this package below a base, unfinished ones as well."""
    for kind in base.__subclasses__():
        if is_own(kind):
            yield kind
        yield from below(kind)


CLASSES = {kind.__name__ for base in (Result, Certificate) for kind in below(base)} - {UnknownResult.__name__}
KINDS = {kind.kind for kind in subclasses(Result) if is_own(kind)} | {kind.name for kind in subclasses(Certificate)}


def named_kinds(source):
    """Places at which code names the class of a kind, or decides by the name of one."""
    for node in ast.walk(ast.parse(source)):
        names = [getattr(node, "id", None), getattr(node, "attr", None)]
        names += [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom | ast.Import) else []
        yield from (f"line {node.lineno}: {name}" for name in names if name in CLASSES)
        if isinstance(node, ast.Compare | ast.MatchValue):
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            yield from (f"line {node.lineno}: {text!r}" for text in texts if isinstance(text, str) and text in KINDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_room_names_a_kind(path):
    assert list(named_kinds(path.read_text())) == []


def test_the_rooms_are_there_and_names_would_be_found():
    assert len(FILES) > 50
    assert {"PixelResult", "OverlapResult", "VoteCertificate", "SmoothGradCertificate"} <= CLASSES
    assert {"pixel", "topk_overlap", "cosine", "renyi", "smoothgrad"} <= KINDS
    for code in (
        "from lit_certattr.certificates import PixelResult",
        "isinstance(result, certificates.CosineResult)",
        "if result.kind == 'renyi': pass",
        "match result.kind:\n  case 'pixel': pass",
    ):
        assert list(named_kinds(code)), code
