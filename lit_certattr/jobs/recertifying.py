"""The job ``recertify``: the certificates of a finished run at another alpha or tau, from its stored counts."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lit_certattr.audit.audit import audit_run
from lit_certattr.audit.consistency import PAGE
from lit_certattr.audit.recorded import Recorded, read_settings
from lit_certattr.certificates import Result
from lit_certattr.certificates.recertified import recertified
from lit_certattr.certification.looks import check_sample_size
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.trust import import_packages
from lit_certattr.jobs.written_again import write_again
from lit_certattr.records.run_directory import Record, RunDirectory
from lit_certattr.records.table import RADII

NOTE = (
    "The counts are those of the run with the fingerprint in 'from'; nothing was drawn again. What is certified here "
    "holds at this alpha and tau if both were fixed before anyone looked at results of these counts. Runs at several "
    "alphas hold together at the sum of them; the best of several, chosen after looking, does not hold at its alpha."
)
"""What the record of a recertified run says."""
_OWN = ("settings", "fingerprint", "sessions", "wandb_run", "recertified")
"""Parts of a record that belong to one run."""


@checked
def recertify(
    directory: str | Path,
    output: str | Path,
    alpha: float | None = None,
    tau: float | None = None,
    overwrite: bool = False,
    imports: Sequence[str] = (),
) -> RunDirectory:
    """Certify a finished run again at another alpha or tau, from its stored counts: no network, no new samples.

    The new run is the one that ``run`` would have written with these settings, bit for bit. It holds at its own alpha
    if alpha and tau were fixed beforehand, not chosen by what they certify
    (:mod:`lit_certattr.certificates.recertified`). The run is audited first, and is not changed.

    Args:
        directory: Output directory of ``certify.py run``.
        output: Directory of the new run.
        alpha: Probability of any false statement about one image, for each certificate; ``None`` keeps it.
        tau: Threshold of the vote of a pixel, for each certificate that has one; ``None`` keeps it.
        overwrite: Delete an existing run in ``output``.
        imports: Packages whose certificates and noise laws are read like those of this package.

    Returns:
        The new run directory.

    Raises:
        InputError: If the run is not finished or fails its audit, the settings would certify nothing, the run may have
            stopped early at looks that the new alpha would move, or ``output`` cannot be used. Nothing is written then.

    Example:
        >>> from lit_certattr import jobs
        >>> jobs.recertify("runs/certify/mnist5k", "runs/certify/mnist5k_001", alpha=0.01)  # doctest: +SKIP
    """
    if alpha is None and tau is None:
        raise InputError("recertify needs another alpha or another tau")
    run, new = RunDirectory(directory), RunDirectory(output)
    if run.path.resolve() == new.path.resolve():
        raise InputError(f"{new.path} is the run itself; choose another --output")
    audited = audit_run(run, pages=False, packages=import_packages(imports, run.path))
    if audited.findings:
        raise InputError(f"{run.path} is no finished run that passes its audit ({audited.findings[0]})")
    record, config = run.provenance(), read_yaml(run.config)
    old, _ = read_settings(record["settings"])
    assert old is not None  # the audit has read it
    named = {name: _changed(dict(values), alpha, tau) for name, values in old.settings.items()}
    if tau is not None and not any("tau" in values for values in named.values()):
        raise InputError(f"none of the certificates has a tau: {', '.join(named)}")
    settings = {**record["settings"], "certificates": named}
    recorded, faults = read_settings(settings)
    if recorded is None or faults:
        raise InputError("; ".join(faults))
    new.check(settings, overwrite)
    for image_id in audited.ids:  # whatever does not fit is refused before anything is written
        _check_looks(run.read(image_id), recorded)
    changes = {key: value for key, value in {"alpha": alpha, "tau": tau}.items() if value is not None}
    about = {key: value for key, value in record.items() if key not in _OWN}
    about["recertified"] = {"from": record["fingerprint"], **changes, "note": NOTE}
    new.lock.take()
    try:
        new.open(settings, overwrite=overwrite, config=_config(config, settings, named, str(output)), provenance=about)
        radii = config.get("radii")
        if radii is None:
            assert recorded.noise is not None  # the audit knows the law
            radii = recorded.noise.budget.usual_radii(RADII)

        def again(ids: Sequence[str]) -> Iterator[Record]:
            return (one._replace(results=_again(one, recorded)) for one in run.records(ids))

        write_again(new, audited.ids, again, record.get("sessions", []), radii, config.get("max_panels", 16))
    finally:
        new.lock.release()
    return new


def _changed(values: dict[str, Any], alpha: float | None, tau: float | None) -> dict[str, Any]:
    """The settings of a certificate at another alpha or tau, where it has them."""
    wanted = {"alpha": alpha, "tau": tau}
    return values | {key: value for key, value in wanted.items() if value is not None and key in values}


def _check_looks(record: Record, recorded: Recorded) -> None:
    """Refuse an image whose looks would not be those of the new settings, or that has too few samples for them."""
    map_shape = (record.clean_map.shape[0], record.clean_map.shape[1])
    shares, certificates = recorded.shares(map_shape), recorded.certificates
    assert shares is not None  # the audit knows all kinds
    own = {name: one for name, one in certificates.items() if one is not None}
    check_sample_size(own, recorded.num_samples, map_shape[0] * map_shape[1], shares[recorded.num_samples])
    for name, result in record.results.items():
        if recorded.may_stop and result.sampling.get("looks") != list(shares):
            raise InputError(
                f"{record.id}, {name}: the run may have stopped at looks that were laid for its alpha "
                f"({result.sampling.get('looks')}), and those of the new settings are others ({list(shares)}): looks "
                "cannot be moved after sampling; certify again with --seed and --output"
            )
        _derived(record, name, recorded)


def _again(record: Record, recorded: Recorded) -> dict[str, Result]:
    """All results of an image with the new settings."""
    return {name: _derived(record, name, recorded) for name in record.results}


def _derived(record: Record, name: str, recorded: Recorded) -> Result:
    certificate = recorded.certificates[name]
    assert certificate is not None  # the audit knows all kinds
    assert recorded.noise is not None
    map_shape = (record.clean_map.shape[0], record.clean_map.shape[1])
    return recertified(record.results[name], certificate, recorded.noise, map_shape, record.image.numel())


def _config(
    config: Mapping[str, Any], settings: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]], output: str
) -> str:
    """The configuration of the new run: that of the old one, with the new alpha and tau."""
    if not isinstance(config.get("certifier"), Mapping):  # a run from Python
        page = {key: config[key] for key in PAGE if key in config}
        return yaml.safe_dump(json.loads(json.dumps({**settings, **page})))
    other = copy.deepcopy(dict(config)) | {"output": output}
    given = other["certifier"]["certificates"]
    entries = list(given.values()) if isinstance(given, Mapping) else given
    for entry, values in zip(entries, named.values(), strict=True):
        arguments = entry.setdefault("init_args", {})
        arguments.update({key: values[key] for key in ("alpha", "tau") if key in values})
    return yaml.safe_dump(json.loads(json.dumps(other)), sort_keys=False)
