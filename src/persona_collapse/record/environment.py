"""What this machine is, as far as it could matter to the bytes: CPU, threads, library versions, settings.

    python -m persona_collapse.record.environment      writes run_info/<profile>/recorded.json; `make record` calls it

No stage reads it and no result holds it; it is what a run that gives other bytes is compared with.
"""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import write_json
from ..experiment.layout import Layout

VECTORS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_fp16")
SETTINGS = ("PORTABLE_NUMERICS", "MKL_", "OMP_", "KMP_", "ONEDNN_", "DNNL_", "ATEN_", "TORCH_", "PYTORCH_")


def recorded(layout: Layout) -> Path:
    """Where the environment is kept that a profile's record was made in."""
    return layout.run_info / "recorded.json"


def describe(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """CPU, threads, system, Python, installed packages and the settings that numerical libraries read."""
    fields: dict[str, str] = {}
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", "").split()
    return {
        "cpu": fields.get("model name", platform.processor()),
        "vector instructions": " ".join(name for name in VECTORS if name in flags),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "settings": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(SETTINGS)},
        "packages": {d.metadata["Name"]: d.version for d in sorted(distributions(), key=lambda d: d.metadata["Name"])},
    }


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """One phrase for each entry that differs, those of `settings` and `packages` one by one."""
    found = []
    for key in [*recorded, *(key for key in here if key not in recorded)]:
        before, now = recorded.get(key), here.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += [f"{key}: {phrase}" for phrase in differences(before, now)]
        elif before != now:
            found.append(f"{key}: recorded {before or 'nothing'}, here {now or 'nothing'}")
    return found


@one_line_errors
def main() -> None:
    path = recorded(parameters.load().layout)
    write_json(path, describe())
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
