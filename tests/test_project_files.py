"""Files around the code: they are valid, agree with each other, and name nothing that does not exist."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def test_the_citation_is_that_of_this_version():
    assert CITATION["cff-version"] == "1.2.0"
    assert str(CITATION["version"]) == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]
    assert {"message", "title", "authors"} <= set(CITATION), "what the format requires"


@pytest.mark.parametrize("reference", CITATION["references"], ids=lambda one: one["title"])
def test_each_published_system_is_cited_so_that_it_can_be_found(reference):
    assert {"type", "title", "authors", "year", "notes"} <= set(reference)
    assert reference["type"] in ("article", "conference-paper")
    assert all({"family-names", "given-names"} == set(author) for author in reference["authors"])
    assert "doi" in reference or reference["url"].startswith("https://proceedings.mlr.press/")
    assert re.fullmatch(r"10\.\d{4,}/\S+", reference.get("doi", "10.0000/x"))
    if "arXiv" in reference.get("journal", ""):
        number = reference["journal"].partition("arXiv:")[2]
        assert reference["doi"] == f"10.48550/arXiv.{number}"


def test_the_notes_of_the_citation_name_kinds_that_exist():
    from lit_certattr import certificates

    named = {word for one in CITATION["references"] for word in re.findall(r"\w+Certificate", one["notes"])}
    assert len(named) >= 4
    assert all(hasattr(certificates, name) for name in named)


def test_the_workflow_runs_the_script_and_builds_the_wheel():
    jobs = WORKFLOW["jobs"]
    assert set(WORKFLOW[True]) == {"push", "pull_request", "workflow_dispatch"}, "YAML reads the key 'on' as true"
    assert WORKFLOW["permissions"] == {"contents": "read"}
    test = jobs["test"]
    assert any(step.get("run") == ".ci/run" for step in test["steps"])
    oldest, newest = test["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={oldest}"
    assert f"Programming Language :: Python :: {newest}" in PROJECT["classifiers"]
    assert any(step.get("run", "").startswith(".ci/wheel ") for step in jobs["wheel"]["steps"])
    commands = (ROOT / ".ci/wheel").read_text(encoding="utf-8")
    for command in ("python -m build", "lit-certattr doctor", "rm -rf sources/lit_certattr", "-m pytest"):
        assert command in commands.replace('/bin/python" -m', "python -m"), command
    named = re.findall(r"tests/[\w./]+", commands)
    assert len(named) >= 4
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_templates_are_forms(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(set(ids)) == len(ids) >= 1
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert "value" in part["attributes"] if part["type"] == "markdown" else part["attributes"]["label"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "docs/installing.md"])
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http|#)([^)#]+)", text)
    paths = re.findall(r"`((?:lit_certattr|tests|docs|benchmarks|configs|\.ci)/[\w./]*)`", text)
    for path in [*((ROOT / name).parent / link for link in links), *(ROOT / path for path in paths)]:
        assert path.exists(), path


def test_the_page_of_extras_names_each_of_them():
    text = (ROOT / "docs/installing.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(PROJECT["optional-dependencies"])


def test_every_bound_of_a_version_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    part = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    bounds = [line for line in part.splitlines() if re.search(r'"[\w\[\]-]+(>=|==)[\d.]+', line)]
    assert len(bounds) > 40
    assert [line for line in bounds if "  # " not in line] == []
