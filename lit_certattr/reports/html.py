"""``report.html``: the report of a run, in one file that opens offline."""

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lit_certattr.certificates import Result, joint_statement
from lit_certattr.certificates.capabilities import CountsPredictions, HasVerdicts, LabelsPixels
from lit_certattr.certificates.guarded import in_order, presentation_of
from lit_certattr.certificates.majority import MOVED, majority_in_words
from lit_certattr.certificates.noisy_accuracy import LOW, remedy_of
from lit_certattr.certificates.presentation import Tile, percent, suffixes
from lit_certattr.certification import NOISY_MAJORITY
from lit_certattr.records.run_directory import Record, RunDirectory
from lit_certattr.records.table import noisy_accuracies, num_moved, num_right
from lit_certattr.records.table_rows import PIECE, Columns, RowGroups, TableRows, rows_where, values_of
from lit_certattr.reports.answers import Answer, answer
from lit_certattr.reports.chosen import Excerpt, averaged, is_large
from lit_certattr.reports.edges import Reach, edges_of, strays
from lit_certattr.reports.figures import dataset_figure, dataset_layout, image_panel, nothing_certified, panel_layout
from lit_certattr.reports.image_tables import certificate_table
from lit_certattr.reports.page import render, scripts, template
from lit_certattr.reports.plain_words import glossary, limits
from lit_certattr.smoothing import DiscreteGaussianNoise, alpha_slack
from lit_certattr.statistics import false_certificates
from lit_certattr.statistics.rounding import at_least, at_most, confidence, confidence_percent, counted, exact, total


def write_report(directory: RunDirectory, ids: Sequence[str], max_panels: int = 16) -> None:
    """Draw the figures of a finished run and write its ``report.html``.

    The page contains its pictures, style and script and loads nothing; all text from files, images or names is escaped.

    Args:
        directory: A run whose images and table are already written.
        ids: Ids of its images, in the order of the table.
        max_panels: Largest number of images with a panel; the first images get one.

    Raises:
        InputError: If a file of the run is missing or damaged.
    """
    figures = draw_figures(directory, ids, max_panels)
    known = {f"{image_id}.png" for image_id in ids}
    there = [path.name for path in directory.figures.iterdir()]
    for name in {*known.intersection(there).difference(figures), *strays(there, figures)}:  # of an earlier page
        (directory.figures / name).unlink()
    for name, data in figures.items():
        directory.write_figure(name, data)
    directory.write_report(fill_page(directory, ids, RowGroups(directory.table), directory.provenance(), figures))


def panel_ids(directory: RunDirectory, ids: Sequence[str], max_panels: int) -> list[str]:
    """Ids of the images with a panel: the first ones; of a large run the worst, the best, and some at random.

    Args:
        directory: A run whose table is already written.
        ids: Ids of its images, in the order of the table.
        max_panels: Largest number of panels.
    """
    if not is_large(ids):
        return list(ids[: max(0, max_panels)])
    return list(Excerpt.of(RowGroups(directory.table), ids, max_panels).panels)


def draw_figures(directory: RunDirectory, ids: Sequence[str], max_panels: int = 16) -> dict[str, bytes]:
    """Draw the files in ``figures/``: a panel for each image of :func:`panel_ids`, and a summary of all images.

    Where radii are no lengths of a norm, these images are also shown at the edge of their budget. The curves of a large
    run are means over some of its images, chosen at random.

    Args:
        directory: A run whose images and table are already written.
        ids: Ids of its images, in the order of the table.
        max_panels: Largest number of images with a panel.

    Returns:
        Content of the files by file name.

    Raises:
        InputError: If a file of the run is missing or damaged.
    """
    figures = {}
    for record in directory.records(panel_ids(directory, ids, max_panels)):
        figures[f"{record.id}.png"] = render(
            image_panel(record.image, record.results, None, record.clean_map, note=False)
        )
        figures |= {picture.name: picture.png for picture in edges_of(record).pictures}
    summary = dataset_figure(record.results for record in directory.records(averaged(ids)))
    return figures | {f"summary.{kind}": render(summary, kind) for kind in ("pdf", "png")}


def fill_page(
    directory: RunDirectory,
    ids: Sequence[str],
    table: Columns,
    provenance: Mapping[str, Any],
    figures: Mapping[str, bytes],
) -> str:
    """The page as HTML; it depends on nothing but the arguments.

    The page of more than 1000 images has rows and panels of some of them, so that it stays below 5 MB.

    Args:
        directory: A run whose images are already written.
        ids: Ids of its images, in the order of the table.
        table: Content of ``results.parquet``, or its columns that have values.
        provenance: Content of ``provenance.json``.
        figures: Pictures by file name; images with a picture get a panel.

    Raises:
        InputError: If a file of the run is missing or damaged.
    """
    pictures = {name: base64.b64encode(data).decode() for name, data in figures.items()}
    shown = [image_id for image_id in ids if f"{image_id}.png" in figures]
    excerpt = Excerpt.of(table, ids, len(shown)) if is_large(ids) else None
    rows = rows_where(table, "id", ids if excerpt is None else excerpt.rows)
    if excerpt is not None:
        shown = excerpt.panels_that_fit(pictures)
    targets = {row["id"]: row["target"] for row in rows.select(["id", "target"]).to_pylist()}
    answers = {image_id: answer(directory.facts(image_id), target) for image_id, target in targets.items()}
    first = directory.read(ids[0])
    content = _content(table, rows, provenance, first, answers, len(ids))
    return template("report.html.j2").render(
        content
        | {
            "panels": [
                _panel(record, pictures, answers[record.id], f"picture-{place}")
                for place, record in enumerate(directory.records(shown))
            ],
            "excerpt": excerpt,
            "summary": dataset_layout(first.results).on_page(
                "picture-of-all",
                pictures["summary.png"],
                "Curves of what is certified against the radius, means over the images. In numbers: "
                + "; ".join(f"{tile['label']}: {tile['value']}" for tile in content["tiles"]),
            ),
            **scripts(paged=excerpt is not None),
        }
    )


def _content(
    table: Columns,
    rows: pa.Table,
    provenance: Mapping[str, Any],
    first: Record,
    answers: Mapping[str, Answer],
    num_images: int,
) -> dict[str, Any]:
    """The values of the template, except the pictures; the numbers are of the whole table, the rows of some images."""
    results = first.results
    any_result = next(iter(results.values()))
    budget = [{"name": name, "alpha": exact(result.alpha)} for name, result in results.items()]
    alpha = total(result.alpha for result in results.values())
    joint = confidence(alpha, num_images)
    reach = edges_of(first).reach
    radius = any_result.scale if reach is None else reach.radius
    if reach is None and any_result.change_budget.definition:
        radius *= 1.5  # so that one patch fits
    levels = radius / math.sqrt(first.image.numel()) * 255
    return {
        "num_images": num_images,
        "network": (provenance.get("network") or {}).get("class", "network"),
        "attribution": any_result.sampling.get("attribution", "attribution"),
        "noise": f"{any_result.law_in_words()}{_explained(any_result)}",
        "num_samples": _samples(any_result, table),
        "plain": [presentation_of(result).plain() for result in results.values()],
        "limits": list(limits(results, num_images)),
        "glossary": list(glossary(results, any_result.partition is not None, any(noisy_accuracies(table)))),
        "tiles": _tiles(results, table, provenance),
        "warnings": _warnings(table),
        "statements": [{"name": name, "text": presentation_of(result).general()} for name, result in results.items()],
        "other_norms": [
            {"name": name, "norm": result.radius_norm} for name, result in results.items() if result.radius_norm != "l2"
        ],
        "budget_words": _budget_words(results, radius, first, reach),
        "example_radius": exact(radius),
        "example_change": at_least(levels, 2),
        "shape": " x ".join(str(size) for size in first.image.shape),
        "resolution": _resolution(first),
        "tables": [certificate_table(name, result, rows, answers) for name, result in results.items()],
        "budget": budget,
        "budget_sum": exact(alpha),
        "confidence": confidence(alpha),
        "joint": joint if joint != "0" else "0 (too many images for a joint statement at this α)",
        "joint_false": _joint_false(num_images, alpha),
        "predicts": any(isinstance(result, CountsPredictions) for result in results.values()),
        "grid": _grid(any_result, first.image.numel()),
        "labels": any(isinstance(result, LabelsPixels) for result in results.values()),
        "verdicts": any(isinstance(result, HasVerdicts) for result in results.values()),
        "power": [note for result in results.values() for note in presentation_of(result).notes()],
        "target_text": _target_text(provenance.get("settings") or {}),
        "facts": _facts(provenance),
    }


def _target_text(settings: Mapping[str, Any]) -> str:
    """How the explained class is chosen, in a sentence."""
    if settings.get("targets") == "label":
        return "The explained class is the label of each image."
    if settings.get("targets") == NOISY_MAJORITY:
        return (
            f"The explained class is the majority of {settings.get('class_samples')} noisy predictions: the class that "
            "most noisy copies are predicted as, of equal numbers the one with the smallest index. These copies cost "
            "one forward pass each, and their noise is independent of that of the certificates."
        )
    return "The explained class is the one that the network predicts for the clean image."


def _budget_words(
    results: Mapping[str, Result], radius: float, first: Record, reach: Reach | None
) -> dict[str, Any] | None:
    """What the lengths of changes are, and how far each kind of change goes alone; ``None`` for a plain norm."""
    budget = next(iter(results.values())).change_budget
    if not budget.definition:
        return None
    axes = budget.in_words(radius, first.image.shape[0], all(result.majorities for result in results.values()))
    return {
        "definition": budget.definition,
        "below": budget.below(radius),
        "changes": axes.replace("+-", "±").split("; "),
        "holds": "" if reach is None else f"For {first.id}, {reach.holds} after each of them.",
    }


def _samples(result: Result, table: Columns) -> str:
    """The number of samples, or its range and mean if sampling may stop early."""
    if "looks" not in result.sampling:
        return f"{result.num_samples:,}"
    drawn = Counter(values_of(table, "num_samples"))
    mean = sum(number * times for number, times in drawn.items()) / drawn.total()
    return f"{min(drawn):,} to {max(drawn):,} (mean {mean:,.0f})"


def _grid(result: Result, dimension: int) -> dict[str, str] | None:
    """What a reader should know about noise on the grid of grey levels; ``None`` for other noise."""
    levels = re.search(r"levels=(\d+)", str(result.sampling.get("noise")))
    if result.noise != DiscreteGaussianNoise.__name__ or levels is None:
        return None
    slack = alpha_slack(DiscreteGaussianNoise(result.sigma, int(levels[1])), result.num_samples, dimension)
    return {"levels": levels[1], "slack": at_most(slack, 1)}


def _joint_false(num_images: int, alpha: float, eta: float = 0.001) -> str:
    """How many images may have a false certificate, in words."""
    count = false_certificates(num_images, min(alpha, 1), eta)
    most = "no image has a false certificate" if count == 0 else f"at most {count} of them have a false certificate"
    return (
        f"With probability at least {confidence_percent(eta)} %, {most}: the noise of each image is independent of "
        f"that of the others, so the false ones are no more numerous than heads among {num_images} coins of "
        f"probability {exact(alpha)}."
    )


def certified_tiles(results: Mapping[str, Result], table: Columns) -> list[Tile]:
    """What is certified, as means over the images of a table.

    Args:
        results: Results of one image by name.
        table: Rows of all images, as in ``results.parquet``.
    """
    rows, presentations = TableRows(table), in_order(results)
    tiles: list[Tile] = []
    for name, suffix in suffixes(presentations).items():
        if own := rows.of(name):
            tiles += presentations[name].tiles(own, suffix)
    return tiles


def _tiles(results: Mapping[str, Result], table: Columns, provenance: Mapping[str, Any]) -> list[dict[str, str]]:
    """The most important numbers, at the top of the page."""
    tiles = certified_tiles(results, table)
    right, known = num_right(table)
    if known:
        tiles.append(Tile(f"{right} of {known}", "images with a label: the network, without noise, is right"))
    if accuracies := [accuracy for accuracy in noisy_accuracies(table) if accuracy is not None]:
        tiles.append(Tile(percent(fmean(accuracies)), "of the noisy copies predicted as the explained class, mean"))
    stops = (provenance.get("settings") or {}).get("stopping")
    if stops and (saved := [share for share in values_of(table, "samples_saved") if share is not None]):
        tiles.append(Tile(percent(fmean(saved)), "of the samples saved by stopping early, mean"))
    return [tile._asdict() for tile in tiles]


_HARDLY_SEEN = (
    "Less than half of the noisy copies are predicted as the explained class: the map explains a class that the "
    "network hardly sees under this noise"
)


def _warnings(table: Columns) -> list[str]:
    """Flags of the results, each with the number of images to which it applies."""
    found: dict[str, set[str]] = {}
    for batch in table.select(["id", "flags"]).to_batches(PIECE) if "flags" in table.column_names else ():
        for row in batch.filter(pc.not_equal(batch.column("flags"), "")).to_pylist():
            for flag in filter(None, row["flags"].split("; ")):
                kind = "constant maps" if "constant" in flag else "ties" if " tie " in flag else flag
                found.setdefault(kind, set()).add(row["id"])
    meaning = {
        "constant maps": "Some noisy maps are constant: they vote for nothing, so such pixels abstain.",
        "ties": "Pixels tie across the threshold of K; the tie rule decides which of them count, "
        "and belongs to the certificate.",
    }
    lines = [f"{counted(len(ids), 'image')}: {meaning.get(flag, flag)}" for flag, ids in found.items()]
    if low := sum(accuracy is not None and accuracy < LOW for accuracy in noisy_accuracies(table)):
        lines.append(f"{counted(low, 'image')}: {_HARDLY_SEEN}.")
    if moved := num_moved(table):
        lines.append(f"{counted(moved, 'image')}: {MOVED}.")
    return lines


def _panel(record: Record, pictures: Mapping[str, str], answered: Answer, name: str) -> dict[str, Any]:
    any_result, edges = next(iter(record.results.values())), edges_of(record)
    majority = majority_in_words(any_result.sampling)
    classes = answered.in_words(f": {majority}" if majority else "")
    statements = [presentation_of(result).statement() for result in record.results.values()]
    statements += [note for result in record.results.values() for note in presentation_of(result).notes()]
    if joint := joint_statement(record.results, explained=f"class {answered.explained}"):
        statements.append(joint)
    flags = [f"{name}: {flag}" for name, result in record.results.items() for flag in result.flags]
    flags += nothing_certified(record.results)
    if any_result.noisy_accuracy is not None:
        classes.append(_predicted(any_result))
        law = any_result.noise_settings or any_result.sampling.get("noise")
        flags += [f"{_HARDLY_SEEN}; {remedy_of(law)}."] if any_result.noisy_accuracy < LOW else []
    numbers = [f"{name}: {text}" for name, one in in_order(record.results).items() if (text := one.summary())]
    return {
        "id": record.id,
        "classes": classes,
        "numbers": numbers,
        "flags": flags,
        "picture": panel_layout(record.image, record.results, record.clean_map).on_page(
            name,
            pictures[f"{record.id}.png"],
            f"Image, attribution map, smoothed map, what is certified, and curves of {record.id}. {'; '.join(numbers)}",
        ),
        "edges": [{"words": picture.words, "png": pictures[picture.name]} for picture in edges.pictures],
        "edge_words": edges.words,
        "statements": statements,
    }


def _explained(result: Result) -> str:
    """What is explained, if the network has a denoiser."""
    explained = result.sampling.get("explained")
    return "" if explained is None else f", explaining {explained}"


def _predicted(result: Result) -> str:
    """The noisy accuracy in words, with the number of copies that it is about and what it cost."""
    which = "all" if result.num_predictions == result.num_samples else "the first"
    cost = ", for one forward pass each" if result.num_extra_passes else ""
    return (
        f"noisy accuracy {percent(result.noisy_accuracy or 0.0)} ({result.num_predicted} of {which} "
        f"{result.num_predictions} noisy copies{cost})"
    )


def _resolution(record: Record) -> str:
    """One sentence about the values of the maps, if these are not the pixels of the image."""
    if record.clean_map is None or record.clean_map.shape == record.image.shape[1:]:
        return ""
    if any(result.partition is not None for result in record.results.values()):
        return (
            "Each value of a map belongs to a region of the image, chosen before sampling: where this page says pixel, "
            "read region. Pictures show the value of a region in all of its pixels."
        )
    cells = " x ".join(str(size) for size in record.clean_map.shape)
    return (
        f"The maps have {cells} pixels, the resolution of the layer that is explained; pictures show each as the part "
        "of the image over which it lies."
    )


def _facts(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings and provenance as lines; without times, so that an interrupted run produces the same page."""
    settings = dict(provenance.get("settings") or {})
    certificates = settings.pop("certificates", {}) or {}
    lines = [(key.replace("_", " "), str(settings[key])) for key in settings if key not in ("network", "images")]
    for name, values in certificates.items():
        lines.append((name, ", ".join(f"{key} = {value}" for key, value in values.items() if key != "sync_on_compute")))
    network = provenance.get("network") or {}
    lines += [
        ("network", f"{network.get('class')}, {network.get('parameters', 0):,} parameters"),
        ("network SHA-256", str(settings.get("network"))),
        ("images SHA-256", str(settings.get("images"))),
        ("settings SHA-256", str(provenance.get("fingerprint"))),
    ]
    versions = provenance.get("versions") or {}
    lines += [
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("python", str(provenance.get("python"))),
        ("machine", f"{provenance.get('platform')}, {provenance.get('cpu')}, device {provenance.get('device')}"),
    ]
    return lines
