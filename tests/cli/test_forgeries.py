"""Each forgery is made as a careful forger would: hashes, table, figures and page are made to fit. Each is named."""

import json
import os
import shutil
import sys

import attrs
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lit_certattr.cli.certify import main
from lit_certattr.data import SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.records.provenance import data_hash
from lit_certattr.records.run_directory import fingerprint
from lit_certattr.reports.html import write_report

pytestmark = pytest.mark.slow

SPEC = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}


def _certificate(kind: str, **settings):
    return {"class_path": f"lit_certattr.certificates.{kind}", "init_args": settings}


def _config(certificates, noise="GaussianNoise", **certifier):
    name, _, options = noise.partition(":")
    arguments = {"sigma": 0.3} | ({"s": int(options)} if options else {})
    return {
        "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 2}},
        "certifier": {
            "attribution": "lit_certattr.attribution.Gradient",
            "noise": {"class_path": f"lit_certattr.smoothing.{name}", "init_args": arguments},
            "certificates": certificates,
            "num_samples": 300,
            "batch_size": 50,
        }
        | certifier,
        "network": SPEC,
        "max_panels": 1,
        "trainer": {"accelerator": "cpu", "threads": 1},
    }


CONFIGS = {
    "votes": _config(
        [
            _certificate("PixelCertificate", top_k=[0.5, 0.2]),
            _certificate("TopKOverlapCertificate", top_k=0.5),
        ]
    ),
    "cosine": _config([_certificate("CosineCertificate", nonnegative=True, num_selection=50)]),
    "renyi": _config(
        [_certificate("RenyiCertificate", top_k=0.5, radius_norm="linf", alpha=0.05)], noise="GeneralisedNormalNoise:4"
    ),
    "stopping": _config(
        [_certificate("PixelCertificate", top_k=[0.5])],
        num_samples=1000,
        stopping=[{"class_path": "lit_certattr.certification.Futility", "init_args": {"gain": 0.5, "radius": 0.1}}],
    ),
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Finished runs by name, made when they are asked for, never touched."""
    folder, made = tmp_path_factory.mktemp("honest"), {}
    torch.manual_seed(0)
    torch.save(SmallCNN(image_size=8).state_dict(), folder / "digits.pt")

    def run(name):
        if name not in made:
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(CONFIGS[name]))
            main(
                [
                    "run",
                    f"--config={folder / name}.yaml",
                    f"--checkpoint={folder}/digits.pt",
                    f"--output={folder / name}",
                ]
            )
            made[name] = folder / name
        return made[name]

    return run


@pytest.fixture
def forge(honest, tmp_path):
    """A copy of a run, to be spoiled."""
    return lambda name="votes": RunDirectory(shutil.copytree(honest(name), tmp_path / "run"))


def _audit(run: RunDirectory, capsys, *extra: str) -> tuple[int, str]:
    capsys.readouterr()
    try:
        main(["audit", str(run.path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    output = capsys.readouterr()
    return status, output.out + output.err


def _ids(run: RunDirectory) -> list[str]:
    return list(dict.fromkeys(pq.read_table(run.table).column("id").to_pylist()))


def _finish(run: RunDirectory, ids=None, page: bool = True) -> None:
    """Table, figures, page and fingerprint, made to fit whatever was changed."""
    content = run.provenance()
    content["fingerprint"] = fingerprint(content["settings"])
    run.provenance_file.write_text(json.dumps(content))
    ids = ids or _ids(run)
    run.write_table(ids)
    if page:
        write_report(run, ids, max_panels=yaml.safe_load(run.config.read_text())["max_panels"])


def _results(run: RunDirectory, change, finish: bool = True, page: bool = True) -> None:
    """Change the results of every image."""
    for image_id in _ids(run):
        record = run.read(image_id)
        results = {name: change(result) for name, result in record.results.items()}
        run.write(image_id, results, record.image, record.clean_map, record.facts)
    if finish:
        _finish(run, page=page)


def _settings(run: RunDirectory, change) -> None:
    content = run.provenance()
    change(content["settings"])
    run.provenance_file.write_text(json.dumps(content))


def _config_of(run: RunDirectory, change) -> None:
    config = yaml.safe_load(run.config.read_text())
    change(config)
    run.config.write_text(yaml.safe_dump(config))


def _sampling(**changes):
    return lambda result: attrs.evolve(result, sampling=result.sampling | changes)


def _evolved(**changes):
    def change(result):
        own = {key: value(result) for key, value in changes.items() if hasattr(result, key)}
        if not own:
            return result
        try:
            return attrs.evolve(result, **own).rederive()
        except InputError:  # impossible, and left as it is
            return attrs.evolve(result, **own)

    return change


def _thinned(result):
    keep = result.projections > result.projections.median()
    return attrs.evolve(result, projections=result.projections[keep]).rederive()


def _one_look(result):
    return attrs.evolve(result, alpha_share=1.0, sampling=result.sampling | {"looks": [result.num_samples]}).rederive()


FOUND = {  # run, what is done to its results, what the audit says
    "dimension": ("renyi", _evolved(dimension=lambda _: 1), "dimension: stored 1, derived 64"),
    "exponent of the noise": ("renyi", _evolved(s=lambda _: 2), "s: stored 2, derived 4"),
    "norm of the radii": ("renyi", _evolved(radius_norm=lambda _: "l4"), "radius_norm: stored l4, derived linf"),
    "dimension of a cosine": ("cosine", _evolved(dimension=lambda _: 1), "dimension: stored 1, derived 64"),
    "mean made shorter": ("cosine", _evolved(mean=lambda r: r.mean / 3), "the mean has the length"),
    "mean made longer": ("cosine", _evolved(mean=lambda r: 3 * r.mean), "the mean has the length"),
    "projections thinned": ("cosine", _thinned, "projections, but 300 samples give 250"),
    "products thinned": ("cosine", _evolved(products=lambda r: r.products[:9]), "products, but 300 samples give 150"),
    "selection": ("cosine", _evolved(num_selection=lambda _: 1), "num_selection: stored 1, derived 50"),
    "one look": ("stopping", _one_look, "looks: stored ["),
    "share of a look": ("stopping", _evolved(alpha_share=lambda _: 1.0), "alpha_share: stored 1.0, derived 0."),
    "number of samples": ("votes", _evolved(num_samples=lambda _: 301), "num_samples: stored 301"),
    "alpha": ("votes", _evolved(alpha=lambda _: 0.1), "alpha: stored 0.1, derived 0.001"),
    "share of alpha": ("votes", _evolved(alpha_share=lambda _: 0.5), "alpha_share: stored 0.5, derived 1.0"),
    "sigma": ("votes", _evolved(sigma=lambda _: 3.0), "sigma: stored 3.0, derived 0.3"),
    "tau": ("votes", _evolved(tau=lambda _: 0.75), "tau: stored 0.75, derived 0.5"),
    "levels": ("votes", _evolved(top_k=lambda r: (0.5, 0.21) if isinstance(r.top_k, tuple) else 0.5), "top_k: stored"),
    "uncovered": (
        "votes",
        lambda r: attrs.evolve(r, uncovered=(0, 1, 2)).rederive() if hasattr(r, "uncovered") else r,
        "uncovered: stored (0, 1, 2), derived (0,)",
    ),
    "ties that are no pixels": (
        "votes",
        _evolved(tied=lambda r: (0.123456,) * len(r.tied) if isinstance(r.tied, tuple) else 0.123456),
        "tied=0.123456 is no share",
    ),
    "ties that differ": ("votes", lambda r: attrs.evolve(r, tied=1.0).rederive() if r.kind != "pixel" else r, "tied"),
    "votes that differ": (
        "votes",
        lambda r: attrs.evolve(r, votes=r.votes.flip(0)).rederive() if r.kind != "pixel" else r,
        "votes for K = 32 are not those of pixel",
    ),
    "levels swapped": (
        "votes",
        lambda r: (
            attrs.evolve(r, votes=torch.stack([r.votes[0].flip(0), r.votes[1]])).rederive() if r.kind == "pixel" else r
        ),
        "more votes for K = 12 than for K = 32",
    ),
    "precision": ("votes", _sampling(precision="float64"), "precision: stored float64, derived float32"),
    "threads": ("votes", _sampling(threads=64), "threads: stored 64, derived 1"),
    "generator": ("votes", _sampling(generator="dice"), "generator: stored dice, derived philox"),
    "seed": ("votes", _sampling(seed=9), "seed: stored 9, derived 0"),
    "batch size": ("votes", _sampling(batch_size=7), "batch_size: stored 7, derived 50"),
    "memory format": ("votes", _sampling(memory_format="contiguous"), "memory_format: stored contiguous"),
    "device": ("votes", _sampling(device="cuda"), "device: stored cuda, derived cpu"),
    "method": ("votes", _sampling(attribution="LRP()"), "attribution: stored LRP(), derived Gradient"),
    "image id": ("votes", _sampling(image_id="cat"), "image_id: stored cat"),
    "target": ("votes", _sampling(target=99), "target: stored 99"),
    "target rule": ("votes", _sampling(target_rule="given"), "target_rule: stored given, derived predicted"),
    "ties": ("votes", _sampling(ties="positive"), "ties: stored positive, derived index"),
    "a field of its own": ("votes", _sampling(approved="yes"), "approved: stored yes, derived no such field"),
    "a missing field": (
        "votes",
        lambda r: attrs.evolve(r, sampling={key: value for key, value in r.sampling.items() if key != "generator"}),
        "generator: stored None",
    ),
    "a looks of no rule": ("votes", _sampling(looks=[300]), "looks: stored [300], derived none"),
    "labels": ("votes", lambda r: attrs.evolve(r, labels=r.labels.abs()) if r.kind == "pixel" else r, "labels at"),
    "radii": ("votes", lambda r: attrs.evolve(r, radius=2 * r.radius) if r.kind == "pixel" else r, "radius at"),
    "flags": ("votes", lambda r: attrs.evolve(r, flags=("fine",)), "flags: stored ('fine',)"),
    "one certificate renamed": (
        "votes",
        None,
        "certificates: stored other, topk_overlap, derived pixel, topk_overlap",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_follows_from_the_record_is_derived_again(forge, capsys, name):
    kind, change, expected = FOUND[name]
    run = forge(kind)
    if change is None:
        for image_id in _ids(run):
            record = run.read(image_id)
            results = {"other": record.results["pixel"], "topk_overlap": record.results["topk_overlap"]}
            run.write(image_id, results, record.image, record.clean_map, record.facts)
        _finish(run, page=False)
    else:
        _results(run, change, page=False)  # the page is not even looked at
    status, out = _audit(run, capsys)
    assert status == 1, out
    assert expected in out
    assert "FAILED" in out


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_honest_run_passes_also_when_it_is_drawn_again(forge, capsys, kind):
    status, out = _audit(forge(kind), capsys, "--fresh", "--replay=2")
    assert status == 0, out
    assert "Recorded samples of 2 images drawn again and compared bit by bit" in out


def _everywhere(run: RunDirectory, changes) -> None:
    """A setting that is changed in the settings, in config.yaml and in every certificate."""
    _settings(run, lambda settings: settings.update(changes))
    _config_of(run, lambda config: config["certifier"].update(changes))


def _multiplied(run: RunDirectory) -> None:
    _everywhere(run, {"num_samples": 3000})

    def change(result):
        counts = {"votes": 10 * result.votes, "num_samples": 3000, "num_constant": 10 * result.num_constant}
        return attrs.evolve(result, **counts, sampling=result.sampling | {"num_samples": 3000}).rederive()

    _results(run, change)


def _no_ties(run: RunDirectory) -> None:
    def change(result):
        return attrs.evolve(result, tied=(0.0, 0.0) if result.kind == "pixel" else 0.0).rederive()

    _results(run, change)


def _slightly_longer_mean(run: RunDirectory) -> None:
    _results(run, lambda result: attrs.evolve(result, mean=1.01 * result.mean).rederive())


def _another_target(run: RunDirectory) -> None:
    for image_id in _ids(run):
        record = run.read(image_id)
        results = {name: _sampling(target=0)(result) for name, result in record.results.items()}
        facts = record.facts | {"target": 0, "prediction": 0}
        facts |= {f"{kind}_name": "0" for kind in ("target", "prediction") if f"{kind}_name" in facts}
        run.write(image_id, results, record.image, record.clean_map, facts)
    _finish(run)


def _another_clean_map(run: RunDirectory) -> None:
    for image_id in _ids(run):
        record = run.read(image_id)
        run.write(image_id, record.results, record.image, record.clean_map.flip(0), record.facts)
    _finish(run)


def _smaller_sigma(run: RunDirectory) -> None:
    _settings(run, lambda settings: settings.update(noise="GaussianNoise(sigma=0.6)"))
    _config_of(run, lambda config: config["certifier"]["noise"]["init_args"].update(sigma=0.6))
    noise = "GaussianNoise(sigma=0.6)"
    _results(run, lambda r: attrs.evolve(r, sigma=0.6, sampling=r.sampling | {"noise": noise}).rederive())


def _another_seed(run: RunDirectory) -> None:
    _everywhere(run, {"seed": 5})
    content = run.provenance()
    run.provenance_file.write_text(json.dumps(content | {"seed": 5}))
    _results(run, _sampling(seed=5))


DRAWN = {
    "votes and samples multiplied": ("votes", _multiplied, "drawn again: num_samples: stored 3000"),
    "sigma everywhere": ("votes", _smaller_sigma, "drawn again: votes at"),
    "seed everywhere": ("votes", _another_seed, "drawn again: votes at"),
    "a longer mean": ("cosine", _slightly_longer_mean, "drawn again: mean at pixel"),
    "another class": ("votes", _another_target, "explained class"),
    "another clean map": ("votes", _another_clean_map, "without noise: map of the image without noise at"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_was_invented_throughout_is_found_when_it_is_drawn_again(forge, capsys, name):
    kind, change, expected = DRAWN[name]
    run = forge(kind)
    change(run)
    status, out = _audit(run, capsys)
    assert status == 0, f"consistent throughout: {out}"
    status, out = _audit(run, capsys, "--fresh")
    assert status == 1, out
    if name == "votes and samples multiplied":  # the samples beyond the recorded ones exist, and vote as they please
        expected = "drawn again: votes at"
    assert expected in out


# --- settings, provenance, config, table, page, files --------------------------------------------------------


def _page(run):
    run.report.write_text(run.report.read_text().replace("certified", "very well certified", 1))


def _figure(run):
    shutil.copy(run.figures / "summary.png", run.figures / f"{_ids(run)[0]}.png")


def _pdf(run):
    (run.figures / "summary.pdf").write_bytes(b"%PDF-1.4\n")


def _no_certificates(run):
    _settings(run, lambda settings: settings.update(certificates=[]))
    _config_of(run, lambda config: config["certifier"].update(certificates=[]))


def _image_removed(run):
    gone, *ids = _ids(run)
    for path in (run.maps, run.images):
        (path / f"{gone}.safetensors").unlink()
    (run.figures / f"{gone}.png").unlink()
    _finish(run, ids)


def _image_twice(run):
    ids = _ids(run)
    run.write_table([*ids, ids[0]])


def _image_swapped(run):
    one, two = (run.read(image_id) for image_id in _ids(run))
    run.write(one.id, one.results, two.image, one.clean_map, one.facts)
    _finish(run)


def _label(run):
    record = run.read(_ids(run)[0])
    run.write(
        record.id,
        record.results,
        record.image,
        record.clean_map,
        record.facts | {"label": (record.facts["label"] + 1) % 10},
    )
    _finish(run)


def _renamed(run):
    old, other = _ids(run)
    for folder in (run.maps, run.images):
        (folder / f"{old}.safetensors").rename(folder / "best.safetensors")
    (run.figures / f"{old}.png").unlink()
    record = run.read("best")
    results = {name: _sampling(image_id="best")(result) for name, result in record.results.items()}
    run.write("best", results, record.image, record.clean_map, record.facts)
    _finish(run, ["best", other])


def _class_names(run):
    for number, image_id in enumerate(_ids(run)):
        record = run.read(image_id)
        facts = record.facts | {"prediction": 1, "target": 1, "target_name": f"cat {number}"}
        run.write(image_id, record.results, record.image, record.clean_map, facts)
    _finish(run)


def _rows_swapped(run):
    table = pq.read_table(run.table)
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), run.table)


def _provenance(**changes):
    def change(run):
        run.provenance_file.write_text(json.dumps(run.provenance() | changes))

    return change


def _setting(**changes):
    def change(run):
        _settings(run, lambda settings: settings.update(changes))
        _finish(run)

    return change


def _without(key):
    def change(run):
        _settings(run, lambda settings: settings.pop(key))
        _finish(run)

    return change


def _said(**changes):
    return lambda run: _config_of(run, lambda config: config.update(changes))


def _mine(name):
    def change(run):
        path = run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("print('ran')")

    return change


def _another_picture(run):
    for image_id in _ids(run):
        path = run.images / f"{image_id}.safetensors"
        with safe_open(path, "pt") as file:
            words = file.metadata()
        save_file(load_file(path) | {"nicer": torch.ones(3)}, path, words)


def _words(run):
    table = pq.read_table(run.table)
    pq.write_table(table.replace_schema_metadata({"certified": "100 %"}), run.table)


def _twice_in_json(run):
    run.provenance_file.write_text(f'{{"seed": 0, {run.provenance_file.read_text()[1:]}')


def _twice_in_yaml(run):
    run.config.write_text(f"{run.config.read_text()}\nmax_panels: 1\n")


OTHERS = {
    "a picture beside the image": (_another_picture, "it also holds nicer, which no run writes"),
    "words beside the table": (_words, "has words in its header"),
    "a key of the config twice": (_twice_in_yaml, "has the key 'max_panels' twice"),
    "a seed that is none": (_setting(seed=False), "provenance.json: seed: stored False, derived a number"),
    "page": (_page, "report.html: is not the page"),
    "figure": (_figure, ".png: is no picture of this run"),
    "pdf": (_pdf, "summary.pdf: is not the figure"),
    "no certificates": (_no_certificates, "certificates: the settings name none"),
    "image removed": (_image_removed, "hash of the images, labels and their order"),
    "image twice": (_image_twice, "holds a row twice"),
    "image swapped": (_image_swapped, "hash of the images, labels and their order"),
    "label": (_label, "hash of the images, labels and their order"),
    "id renamed": (_renamed, "hash of the images, labels and their order"),
    "class names": (_class_names, "name of class 1"),
    "order of the table": (_rows_swapped, "results.parquet: order of the rows"),
    "threads of the machine": (_provenance(threads=99), "provenance.json: threads: stored 99"),
    "seed of the machine": (_provenance(seed=99), "provenance.json: seed: stored 99"),
    "machine": (_provenance(platform="a very good one"), "report.html: is not the page"),
    "versions": (_provenance(versions={"torch": "9.9"}), "provenance.json: torch: stored 9.9"),
    "number of weights": (_provenance(network={"class": "ResNet50", "parameters": 9}), "report.html: is not the page"),
    "an approval": (_setting(approved="yes"), "the settings hold approved, which no run has"),
    "no structure": (_without("structure"), "an older version recorded the weights of the network"),
    "no images": (_without("images"), "the settings lack images"),
    "absurd samples": (_setting(num_samples=10**12), "num_samples must be a number in 1..10,000,000"),
    "absurd noise": (_setting(noise="GaussianNoise(sigma=9**9**9)"), "is no noise law"),
    "noise with a call": (_setting(noise="GaussianNoise(sigma=__import__('os').system('true'))"), "is no noise law"),
    "precision of the run": (_setting(precision="64-true"), "precision: stored float32, derived float64"),
    "a rule of the shares": (_setting(look_shares="all of it"), "look_shares: no rule of this run"),
    "ids of the config": (_said(ids=["cat"]), "config.yaml: ids: cat is not certified"),
    "network of the config": (_said(max_panels="all"), "max_panels: stored all"),
    "radii of the config": (_said(radii=[-1]), "radii: stored [-1]"),
    "stopping of the config": (
        lambda run: _config_of(run, lambda config: config["certifier"].update(stopping=[SPEC])),
        "certifier.stopping: stored 1, derived none",
    ),
    "a script": (_mine("attack/evil.py"), "attack/evil.py: is no file of a run"),
    "a nested script": (_mine("attack/images/deep/evil.py"), "attack/images/deep/evil.py: is no file of a run"),
    "a script at the top": (_mine("sitecustomize.py"), "sitecustomize.py: is no file of a run"),
    "a script among the maps": (_mine("maps/evil.py"), "maps/evil.py: belongs to no image of the run"),
    "a folder": (lambda run: (run.path / "spare").mkdir(), "spare: is no folder of a run"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_that_is_recorded_is_bound_too(forge, capsys, name):
    change, expected = OTHERS[name]
    run = forge()
    change(run)
    status, out = _audit(run, capsys)
    assert status == 1, out
    assert expected in out


def test_a_key_of_the_provenance_that_is_there_twice_is_one_line(forge, capsys):
    run = forge()
    _twice_in_json(run)
    status, out = _audit(run, capsys)
    assert status == 2
    assert "has the key 'seed' twice" in out


def test_a_subset_that_is_consistent_throughout_is_refused_with_the_data(forge, capsys):
    run = forge()
    _image_removed(run)
    (image_id,) = _ids(run)
    record = run.read(image_id)
    hashed = data_hash(SampleSet(record.image[None], [record.facts["label"]], [image_id]))
    _setting(images=hashed)(run)
    assert _audit(run, capsys)[0] == 0
    status, out = _audit(run, capsys, "--fresh")
    assert status == 2
    assert "this is not what was certified: images was" in out


# --- what is no honest file ----------------------------------------------------------------------------------


def _pipe(run, path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _link_out(run, path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def _endless(run, path):
    with path.open("wb") as file:
        file.truncate(2**40)


def _deep(run, path):
    path.write_text("[" * 100_000)


def _bomb(run, path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    path.write_text("\n".join(lines))


def _digits(run, path):
    path.write_text("a: " + "1:" * 2000 + "1\nseed: " + "9" * 5000)


def _header(run, path):
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")


def _shape(run, path):
    header = json.dumps({"votes": {"dtype": "I32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))


@pytest.mark.parametrize(
    "place", ["config.yaml", "provenance.json", "results.parquet", "report.html", "maps", "images"]
)
@pytest.mark.parametrize("spoil", [_pipe, _link_out, _endless, _deep, _bomb, _digits, _header, _shape])
def test_hostile_files_are_one_line_each(forge, capsys, place, spoil):
    run = forge()
    spoil(run, run.path / place if "." in place else run.path / place / f"{_ids(run)[0]}.safetensors")
    status, out = _audit(run, capsys)
    assert status in (1, 2), out
    assert "Traceback" not in out
    assert all(len(line) < 700 for line in out.splitlines())


def test_a_table_that_unpacks_to_gigabytes_is_refused(forge, capsys):
    import pyarrow as pa

    run = forge()
    rows = pq.read_table(run.table).to_pylist() * 20_000
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(run.table)), run.table, compression="zstd")
    status, out = _audit(run, capsys)
    assert status == 1
    assert "120,000 rows of" in out


def test_control_characters_do_not_reach_the_terminal(forge, capsys):
    run = forge()
    _results(run, _sampling(device="\x1b[2J\nFAILED: 0"), finish=False)
    out = _audit(run, capsys)[1]
    assert "\x1b[2J" not in out
    assert "device: stored ?[2J FAILED: 0, derived cpu" in out


# --- code that the directory brings --------------------------------------------------------------------------

EVIL = "import torch\nclass Net(torch.nn.Module):\n    raise SystemExit('ran')\n"


@pytest.mark.parametrize("command", ["audit", "attack"])
@pytest.mark.parametrize("trust", [(), ("--trust",)])
def test_code_of_the_directory_is_never_run(forge, capsys, monkeypatch, command, trust):
    run = forge()
    (run.path / "attack").mkdir()
    (run.path / "attack" / "evil.py").write_text(EVIL)
    _config_of(run, lambda config: config.update(network={"class_path": "run.attack.evil.Net", "init_args": {}}))
    monkeypatch.chdir(run.path.parent)
    monkeypatch.syspath_prepend(run.path.parent)
    status, out = _audit(run, capsys)
    assert status == 1
    assert "attack/evil.py: is no file of a run" in out
    assert "run.attack.evil.Net" in out, "foreign classes are named"
    (run.path / "attack" / "evil.py").rename(run.path / "attack" / "settings.json")  # named, so it passes for a file
    (run.path / "attack" / "settings.json").rename(run.path.parent / "evil.py")
    sys.modules.pop("run", None)
    extra = ["--fresh"] if command == "audit" else []
    with pytest.raises(SystemExit) as stopped:
        main([command, str(run.path), *extra, *trust])
    assert stopped.value.code == 2
    assert str(stopped.value) != "ran"


def test_a_class_of_the_user_needs_trust(honest, tmp_path, capsys, monkeypatch):
    source = tmp_path / "modules"
    source.mkdir()
    (source / "my_nets_of_the_audit.py").write_text(
        "from lit_certattr.models import SmallCNN\n\n\nclass Mine(SmallCNN):\n    pass\n"
    )
    monkeypatch.syspath_prepend(source)
    config = CONFIGS["votes"] | {"network": {"class_path": "my_nets_of_the_audit.Mine", "init_args": {"image_size": 8}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    honest("votes")
    weights = honest("votes").parent / "digits.pt"
    main(["run", f"--config={tmp_path}/mine.yaml", f"--checkpoint={weights}", f"--output={tmp_path}/mine"])
    run = RunDirectory(tmp_path / "mine")
    status, out = _audit(run, capsys)
    assert status == 0, out
    assert "my_nets_of_the_audit.Mine" in out
    for command in (["audit", str(run.path), "--fresh"], ["attack", str(run.path)]):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 2
        assert "--trust" in capsys.readouterr().err
    status, out = _audit(run, capsys, "--fresh", "--trust")
    assert status == 0, out
    assert "compared bit by bit" in out


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("network", {"class_path": "torchvision.models.resnet18", "init_args": {}}),
        ("network", {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": "/tmp", "model": "x"}}),
        ("network", {"class_path": "torch.os.system", "init_args": {"command": "true"}}),
        ("network", {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}),
        ("network", "other.yaml"),
        ("data", {"class_path": "torch.utils.data.TensorDataset", "init_args": {}}),
    ],
)
def test_only_classes_of_known_kinds_are_built(forge, capsys, key, spec):
    run = forge()
    _config_of(run, lambda config: config.update({key: spec}))
    status, out = _audit(run, capsys, "--fresh")
    assert status == 2, out
    assert out.strip().splitlines()[-1].startswith("certify.py: error:")


# --- which network it was ------------------------------------------------------------------------------------


NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, act: str = "relu") -> None:
        super().__init__()
        self.act = act
        self.hidden, self.last = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, images):
        return self.last(getattr(torch, self.act)(self.hidden(images.flatten(1))))
"""


def test_another_activation_with_equal_weights_neither_resumes_nor_is_tested(tmp_path, capsys, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "nets_of_the_audit.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    import nets_of_the_audit

    torch.manual_seed(0)
    torch.save(nets_of_the_audit.Net().state_dict(), tmp_path / "net.pt")
    spec = {"class_path": "nets_of_the_audit.Net", "init_args": {"act": "relu"}}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(CONFIGS["votes"] | {"network": spec}))
    command = ["run", f"--config={tmp_path}/net.yaml", f"--checkpoint={tmp_path}/net.pt", f"--output={tmp_path}/run"]
    main(command)
    run = RunDirectory(tmp_path / "run")
    assert _audit(run, capsys, "--fresh", "--trust")[0] == 0

    def refused(args):
        with pytest.raises(SystemExit) as stopped:
            main(args)
        assert stopped.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    tanh = [*command, "--network.init_args.act=tanh"]
    assert "not the classes or arguments of its modules" in refused(tanh)
    with monkeypatch.context() as edited:  # the same class and arguments, with another forward
        edited.setattr(nets_of_the_audit.Net, "forward", lambda self, x: self.last(self.hidden(x.flatten(1)).tanh()))
        assert "its logits for fixed images are not" in refused(command)
        assert "its logits for fixed images are not" in refused(["audit", str(run.path), "--fresh", "--trust"])
    _config_of(run, lambda config: config["network"]["init_args"].update(act="tanh"))
    assert "not the classes or arguments of its modules" in refused(["audit", str(run.path), "--fresh", "--trust"])


def test_a_run_of_an_older_version_is_refused_in_one_line(forge, capsys, honest):
    run = forge()
    _settings(run, lambda settings: settings.pop("structure"))
    folder = honest("votes").parent
    with pytest.raises(SystemExit) as stopped:
        main(
            ["run", f"--config={folder}/votes.yaml", f"--checkpoint={folder}/digits.pt", f"--output={run.path}"],
        )
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "was written by an older version" in error
    assert "--overwrite=true" in error
