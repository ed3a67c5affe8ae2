"""What a container image holds and what it was made from, as a CycloneDX list: `make image-sbom` calls it.

    python -m persona_collapse.publication.image cpu      reads what image/sbom.sh says of an image, as JSON

The system's packages are as dpkg has them, Python's as they are installed, each with the hashes that its lock allows.
Of its making the list states the image's id, its base with the base's digest, and the SHA-256 of each lock.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclonedx.model.component import Component
from packageurl import PackageURL
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field

from ..experiment import records
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_text, write_text
from ..experiment.strict import from_json
from . import DIST, citation, sbom

BASE = ("org.opencontainers.image.base.name", "org.opencontainers.image.base.digest")


class Made(BaseModel):
    """What the engine says of an image."""

    model_config = ConfigDict(frozen=True)

    id: str
    labels: dict[str, str]


class Holds(BaseModel):
    """What image/contents.py says inside it."""

    model_config = ConfigDict(frozen=True)

    system: dict[str, str]  # of its os-release: ID, VERSION_ID and the like
    debian: list[tuple[str, str, str]] = Field(min_length=1)  # name, version, architecture
    python: list[tuple[str, str]] = Field(min_length=1)  # name, version
    locks: list[str] = Field(min_length=1)  # "SHA-256  requirements/LOCK.txt", in the order of installation


class Image(BaseModel):
    model_config = ConfigDict(frozen=True)

    made: Made
    holds: Holds


def listing(image: Image, target: str, pins: Sequence[sbom.Pin], about: citation.Citation) -> str:
    """The CycloneDX JSON of an image; the same for the same image.

    Args:
        pins: the packages of the locks that it was made from.

    Raises:
        InputError: a Python package in it is in none of the locks.
    """
    locked = {(canonicalize_name(pin.name), pin.version): pin for pin in pins}
    holds = [(canonicalize_name(name), version) for name, version in image.holds.python]
    for name, version in holds:
        if (name, version) not in locked:
            raise InputError(f"the image holds {name} {version}, which no lock has that it was made from")
    system = image.holds.system
    told = {"target": target, "image": image.made.id, "system": " ".join(filter(None, system.values()))}
    told |= {name: image.made.labels[name] for name in BASE if name in image.made.labels}
    told |= {path: f"sha256:{digest}" for digest, path in map(str.split, image.holds.locks)}
    packages = {
        f"{name}:{architecture}": Component(
            name=name,
            version=version,
            bom_ref=f"{name}:{architecture}",
            purl=PackageURL("deb", system["ID"], name, version, {"arch": architecture}),
        )
        for name, version, architecture in image.holds.debian
    }
    packages |= {locked[package].ref: sbom.component(locked[package]) for package in holds}
    return sbom.document(about, image.model_dump_json(), 0, told, packages, {about.name: [*packages]})


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=("cpu", "cuda"))
    target = parser.parse_args().target
    image = records.checked(from_json(sys.stdin.read()), Image, "what the engine and the image say")
    locks = [Path(line.split()[1]) for line in image.holds.locks]
    pins = [pin for path in locks for pin in sbom.pins(read_text(path), str(path))]
    about = citation.read(read_text(citation.CITATION))
    path = DIST / f"{about.name}-{target}.cdx.json"
    path.parent.mkdir(exist_ok=True)
    write_text(path, listing(image, target, pins, about))
    print(f"{path}: {len(image.holds.debian)} packages of the system, {len(image.holds.python)} of Python")


if __name__ == "__main__":
    main()
