"""Hashes of every tensor that the demo certifies: are certificates today, bit for bit, those of an earlier version?

    make demo
    python -m benchmarks.pinned                 # compare runs/certify/* with benchmarks/pinned.json
    python -m benchmarks.pinned --write         # what is on disk becomes what is expected

The last bits of a network's sums differ between processors and versions of torch, so a noisy map, and with it a vote,
may differ elsewhere: compare on the machine on which the hashes were made, which the file describes. With another
machine, check out the earlier version, run the demo there, and write the hashes anew.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import attrs
import torch
from torch import Tensor

from lit_certattr.certificates.result import load_results
from lit_certattr.records.provenance import machine

RUNS = ("mnist5k", "photographs")
EXPECTED = Path(__file__).with_name("pinned.json")


def hashes(directory: Path) -> dict[str, str]:
    """SHA-256 of every tensor of every result below a run directory, by ``<image>/<certificate>/<field>``."""
    found = {}
    for path in sorted((directory / "maps").glob("*.safetensors")):
        for name, result in load_results(path).items():
            for field in attrs.fields(type(result)):
                value = getattr(result, field.name)
                if isinstance(value, Tensor):
                    content = f"{value.dtype} {tuple(value.shape)}\n".encode() + value.contiguous().numpy().tobytes()
                    found[f"{path.stem}/{name}/{field.name}"] = hashlib.sha256(content).hexdigest()
    return found


def here() -> dict[str, str]:
    """What decides the last bits of a sum."""
    return {key: value for key, value in machine().items() if key != "platform"} | {"torch": torch.__version__}


def main() -> int:
    """Compare or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/certify"), help="folder of the run directories")
    parser.add_argument("--write", action="store_true", help="write the hashes instead of comparing them")
    arguments = parser.parse_args()
    found = {run: hashes(arguments.runs / run) for run in RUNS}
    if arguments.write:
        EXPECTED.write_text(json.dumps({"machine": here(), "tensors": found}, indent=1) + "\n")
        return 0
    expected = json.loads(EXPECTED.read_text())
    if expected["machine"] != here():
        print(f"made on another machine: {expected['machine']}", file=sys.stderr)
    different = 0
    for run in RUNS:
        keys = expected["tensors"][run].keys() | found[run].keys()
        changed = sorted(key for key in keys if expected["tensors"][run].get(key) != found[run].get(key))
        different += len(changed)
        print(f"{run}: {len(keys)} tensors, {len(changed)} differ", *changed[:10], sep="\n  ")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
