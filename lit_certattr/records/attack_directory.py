"""``attack/`` in a run directory: the results of attacks on its certificates, one file per image."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from safetensors import safe_open
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.files.tensors import bytes_of
from lit_certattr.files.untrusted import DAMAGE, check_tensors, read_json
from lit_certattr.files.whole_file import write_whole
from lit_certattr.records.digests import fingerprint, tensors_digest
from lit_certattr.records.ids import check_ids
from lit_certattr.records.job_directory import JobDirectory, PicturedDirectory
from lit_certattr.records.stored_table import MAX_ROWS, read_table
from lit_certattr.records.tensor_files import HEADER, SUFFIX, own_ids
from lit_certattr.robustness import Candidate, ImageSandwich

_MOST_BUDGETS = 100
"""Largest number of budgets of a table that is read."""


def schema() -> pa.Schema:
    """Columns and types of ``sandwich.parquet``; one row per image, quantity and budget.

    ``quantity`` is ``important`` or ``unimportant`` (pixels that keep this label), ``overlap`` or ``cosine``. Numbers
    are shares of ``size`` (K; all pixels; K; 1). Of a claim, whose name is in ``claim``, it is ``number`` or
    ``percentile``, pushed down, or ``one minus number`` or ``percentile from above``, pushed up.

    - ``certified``: certified lower bound at the l2 length ``budget``.
    - ``attacked``: estimate of the quantity under the worst perturbation that was found within the budget (for each
      pixel its own worst one). One half of the fresh samples selects the perturbation, the other half estimates.
    - ``attacked_upper``: upper confidence bound from all fresh samples.
    - ``gap``: ``attacked_upper`` minus ``certified``.
    - ``random``: the same as ``attacked`` for random search with the same number of points; null without a search.
    - ``attack``: name of the attack that found the worst perturbation.
    - ``contradicted``: number of claims that the fresh samples contradict.
    """
    text = ("id", "certificate", "kind", "quantity")
    real = ("budget", "certified", "attacked", "attacked_upper", "gap", "random")
    return pa.schema(
        [(name, pa.string()) for name in text]
        + [("level", pa.int64()), ("top_k", pa.float64()), ("claim", pa.string()), ("size", pa.int64())]
        + [(name, pa.float64()) for name in real]
        + [("attack", pa.string()), ("contradicted", pa.int64()), ("num_samples", pa.int64()), ("seed", pa.int64())]
    )


class AttackDirectory(PicturedDirectory):
    """Layout, atomic writing and resuming of ``attack/``.

    ``settings.json``, ``images/<id>.safetensors`` (perturbed images, their smoothed maps, and the rows of the table),
    ``sandwich.parquet``, ``sandwich.csv``, ``figures/`` and ``attack.html``. Every file is written completely or
    not at all, and contains no time: a command that was killed and repeated produces the same bytes.

    Args:
        run: Directory of the run whose certificates are attacked.
        path: The directory; ``attack/`` in the run by default, where the lock of the run also protects the attacks.
    """

    kind = "set of attacks"
    elsewhere = "move its files to another place, or choose another --output"
    delete = "use --overwrite to delete and recompute it, or choose another --output"

    def __init__(self, run: JobDirectory, path: str | Path | None = None) -> None:
        inside = run.path / "attack"
        super().__init__(inside if path is None else path)
        if self.path.absolute() == inside.absolute():
            self.lock = run.lock
        self.images, self.figures = self.path / "images", self.path / "figures"
        self.settings_file = self.path / "settings.json"
        self.table, self.csv = self.path / "sandwich.parquet", self.path / "sandwich.csv"
        self.page = self.path / "attack.html"
        self.record, self.folders = self.settings_file, (self.images, self.figures)
        self.files = (self.table, self.csv, self.page)

    @override
    def stored_settings(self) -> Any:
        return self.settings()

    @override
    def own_files(self) -> list[Path]:
        ids = own_ids((self.images,))
        figures = {"sandwich.pdf", "sandwich.png"}
        figures |= {f"{image_id}{end}.png" for image_id in ids for end in ("", "-perturbed")}
        return [*(self.images / self._file(image_id) for image_id in ids), *(self.figures / name for name in figures)]

    def settings(self) -> dict[str, Any] | None:
        """The settings of the stored attacks; ``None`` if there are none.

        Raises:
            InputError: If the file is damaged.
        """
        if not self.settings_file.exists():
            return None
        try:
            content = read_json(self.settings_file)
            return dict(content["settings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.settings_file} is damaged ({error}); use --overwrite to delete and recompute the attacks"
            ) from None

    def open(self, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        """Create the directory, or continue the attacks with the same settings that it contains.

        Args:
            settings: Everything that determines the results, as plain nested values.
            overwrite: Delete existing attacks.

        Raises:
            InputError: See :meth:`check`; also if the directory cannot be written.
        """
        self.check(settings, overwrite)
        content = {"settings": dict(settings), "fingerprint": fingerprint(settings)}
        self._start((json.dumps(content, indent=2) + "\n").encode(), overwrite)

    def write(self, image_id: str, sandwich: ImageSandwich) -> None:
        """Write one image. Several processes may write different images at the same time.

        Args:
            image_id: Id of the image, which names its file.
            sandwich: Perturbed images, their smoothed maps, and the rows of the table.

        Raises:
            InputError: If the id cannot be a file name.
        """
        tensors = {"images": sandwich.images, "maps": sandwich.maps}
        header = {
            "candidates": [one._asdict() for one in sandwich.candidates],
            "rows": sandwich.rows,
            "tensors": tensors_digest(tensors),
        }
        data = bytes_of(tensors, {HEADER: json.dumps(header, sort_keys=True)})
        write_whole(self.images / self._file(image_id), data)

    def read(self, image_id: str) -> ImageSandwich:
        """Read the results for one image.

        Args:
            image_id: Id of the image.

        Raises:
            InputError: If the file is missing or damaged.
        """
        path = self.images / self._file(image_id)
        try:
            check_tensors(path)
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[HEADER])
                tensors = {name: file.get_tensor(name) for name in ("images", "maps")}
            if header["tensors"] != tensors_digest(tensors):
                raise ValueError("its digest differs from the recorded digest")
            candidates = [Candidate(**one) for one in header["candidates"]]
            return ImageSandwich(candidates, tensors["images"], tensors["maps"], list(header["rows"]))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except DAMAGE as error:
            raise InputError(f"{path}: damaged ({' '.join(str(error).split())})") from None

    @override
    def finished(self) -> frozenset[str]:
        done = set()
        for path in self.images.glob(f"[!.]*{SUFFIX}"):
            image_id = path.name.removesuffix(SUFFIX)
            try:
                self.read(image_id)
            except InputError:
                continue
            done.add(image_id)
        return frozenset(done)

    def sandwiches(self, ids: Sequence[str]) -> Iterator[tuple[str, ImageSandwich]]:
        """Read the results for several images, one at a time.

        Args:
            ids: Ids of the images.
        """
        return ((image_id, self.read(image_id)) for image_id in ids)

    def write_table(self, ids: Sequence[str]) -> pa.Table:
        """Write ``sandwich.parquet`` and ``sandwich.csv``.

        Args:
            ids: Ids of the images, in the order of the rows.
        """
        rows = [row for _, sandwich in self.sandwiches(ids) for row in sandwich.rows]
        table = pa.Table.from_pylist(rows, schema=schema())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_whole(self.table, sink.getvalue().to_pybytes())
        text = io.BytesIO()
        pyarrow.csv.write_csv(table, text)
        write_whole(self.csv, text.getvalue())
        return table

    def read_table(self, num_images: int) -> pa.Table:
        """Read ``sandwich.parquet``, if it is not larger than the attacks on so many images could have made it.

        Args:
            num_images: Largest number of attacked images.

        Raises:
            FileNotFoundError: If the file does not exist.
            InputError: If the file is too large, damaged or no table.
        """
        return read_table(self.table, _MOST_BUDGETS * MAX_ROWS * (num_images + 1))

    def write_page(self, html: str) -> None:
        """Write ``attack.html``.

        Args:
            html: Content of the file.
        """
        write_whole(self.page, html.encode())

    def _file(self, image_id: str) -> str:
        check_ids([image_id])
        return f"{image_id}{SUFFIX}"
