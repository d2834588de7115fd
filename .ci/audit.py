"""Known weaknesses and licences of what is installed: ``python .ci/audit.py PYTHON``, beside pip-audit.

pip-audit calls a package that its service does not know "skipped", and ends well even if that is every package. So this
script fails if the service knows none of them, as without a network, and names those that were not audited.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OURS = "lit-certattr"


def judge(dependencies: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Exit status, and lines for the user.

    Args:
        dependencies: What pip-audit reports of each package: ``vulns``, or a ``skip_reason``.
    """
    others = [one for one in dependencies if one["name"] != OURS]
    skipped = [one["name"] for one in others if "skip_reason" in one]
    weak = [(one, fault) for one in others for fault in one.get("vulns", ())]
    if len(skipped) == len(others):
        return 2, [
            f"audit: the service of pip-audit knows none of the {len(others)} packages, so NOTHING was audited; "
            "run it where the package index can be reached"
        ]
    lines = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none yet'}"
        for one, fault in weak
    ]
    lines.append(f"audit: {len(others) - len(skipped)} packages audited, {len(weak)} known weaknesses")
    if skipped:
        lines.append(f"not audited, since the service does not know them: {', '.join(skipped)}")
    return (1 if weak else 0), lines


def main() -> int:
    """Audit the environment of the interpreter that is given."""
    tools, python = Path(sys.executable).parent, sys.argv[1]
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    licences = [str(tools / "pip-licenses"), f"--python={python}", "--from=mixed", "--order=license"]
    subprocess.run(licences, check=True)
    asked = [str(tools / "pip-audit"), "--path", packages, "--format=json", "--progress-spinner=off"]
    done = subprocess.run(asked, check=False, capture_output=True, text=True)
    try:
        status, lines = judge(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines()
        status, lines = 2, [f"audit: pip-audit failed, so NOTHING was audited: {said[-1] if said else 'no output'}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
