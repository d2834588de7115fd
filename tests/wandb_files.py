"""Reads what Weights & Biases wrote offline."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import wandb
from wandb.proto import wandb_internal_pb2

PROTO: Any = wandb_internal_pb2  # its messages have no types

BLOCK = 2**15


class WandbFile(NamedTuple):
    """One ``.wandb`` file: a run, or a part of one that was resumed."""

    record: Any  # id, display_name, run_group, job_type, tags, project
    config: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: list[Any]
    artifacts: list[Any]
    files: Path

    def last(self) -> dict[str, Any]:
        """The last value of each column."""
        return {key: value for row in self.history for key, value in row.items()}

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of the last table with this name."""
        content = json.loads((self.files / self.last()[f"{name}/path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def records(path: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file, a LevelDB log: blocks of 32 KiB with chunks of (crc, length, kind, bytes)."""
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last chunk
            record = PROTO.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def runs(folder: Path) -> list[WandbFile]:
    """All runs below a folder, in the order in which they started."""
    wandb.teardown()  # the service writes on its own: the files are whole when it has ended
    return [_read(path) for path in sorted(folder.rglob("*.wandb"), key=lambda path: path.stat().st_mtime_ns)]


def only_run(folder: Path) -> WandbFile:
    """The one run below a folder."""
    (run,) = runs(folder)
    return run


def _read(path: Path) -> WandbFile:
    run = WandbFile(PROTO.RunRecord(), {}, [], [], [], path.parent / "files")
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                run.record.CopyFrom(record.run)
                run.config.update(_values(record.run.config.update))
            case "config":
                run.config.update(_values(record.config.update))
            case "metric":
                run.metrics.append(record.metric)
            case "history":
                run.history.append(_values(record.history.item))
            case "artifact":
                run.artifacts.append(record.artifact)
    return run


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
