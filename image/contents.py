"""Run inside an image: what is installed in it, as JSON for `make image-sbom`, by Python's own library alone.

python image/contents.py
"""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

SHOWN = "${Package}\t${Version}\t${Architecture}\n"


def installed() -> list[tuple[str, str]]:
    """Name and version of each package in the environment of this Python, and not of the system's."""
    own = distributions(path=[folder for folder in sys.path if folder.startswith(sys.prefix)])
    return sorted((package.metadata["Name"], package.version) for package in own)


def main() -> None:
    listed = subprocess.run(["dpkg-query", "--show", "--showformat", SHOWN], capture_output=True, text=True, check=True)
    system = platform.freedesktop_os_release()
    found = {
        "system": {key: system.get(key, "") for key in ("ID", "VERSION_ID", "VERSION_CODENAME")},
        "debian": [line.split("\t") for line in listed.stdout.splitlines()],
        "python": installed(),
        "locks": Path(os.environ["IN_IMAGE"]).read_text().splitlines(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
