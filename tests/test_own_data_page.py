"""docs/own_data.md is run: its files are written, and its commands executed in order, in one process."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import processes
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "own_data.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PROGRAM = """
import json, os, runpy, sys
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
import warnings
warnings.filterwarnings("ignore", ".*better than chance.*")
from lit_certattr.cli import certify, train
for words in json.loads(sys.argv[2]):
    program, *arguments = words
    print(">>>", *words, flush=True)
    if program == "certify.py":
        certify.main(arguments)
    elif program == "train.py":
        train.main(arguments)
    else:
        runpy.run_path(program)
"""


def blocks():
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def commands():
    lines = [line for kind, text in blocks() if kind == "bash" for line in text.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    assert all(one[0] == "python" for one in words)
    return [one[1:] for one in words]


def test_the_page_is_true(tmp_path):
    for kind, text in blocks():
        if kind != "bash":
            name = text.splitlines()[0].removeprefix("# ")
            body = text.partition("\n")[2] if name.endswith(".json") else text
            (tmp_path / name).write_text(body)
    (tmp_path / "photographs").mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photographs" / "one.png")
    (done,) = processes.run(tmp_path, PROGRAM, [str(tmp_path), json.dumps(commands())])
    assert done.status == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "No claim is contradicted" in done.stdout
    for name in ("dataset", "mine", "folder", "classes"):
        assert (tmp_path / "runs" / name / "report.html").exists()
    assert "horizontal (3)" in (tmp_path / "runs" / "classes" / "report.html").read_text()
