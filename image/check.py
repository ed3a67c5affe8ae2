"""Run inside an image: are its Python packages those of the locks it was built from, no more and no fewer?

python image/check.py LOCK...      each LOCK is requirements/LOCK.txt; exit code 1 and one line if not
"""

import re
import sys
from pathlib import Path

from contents import installed
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def locked(text: str) -> dict[str, str]:
    """Name and version of each package that a lock has for this Python and system."""
    found = {}
    for line in re.findall(r"^[A-Za-z0-9][^\\#\n]*", text, re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


def main(locks: list[str]) -> int:
    wanted: dict[str, str] = {}
    for lock in locks:
        wanted |= locked(Path(f"requirements/{lock}.txt").read_text())
    here = {canonicalize_name(name): version for name, version in installed()}
    wrong = sorted(name for name in wanted.keys() | here.keys() if wanted.get(name) != here.get(name))
    for name in wrong:
        print(f"error: {name}: locked {wanted.get(name, 'not')}, installed {here.get(name, 'not')}", file=sys.stderr)
    if not wrong:
        print(f"{len(here)} Python packages, those of the locks and no other")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
