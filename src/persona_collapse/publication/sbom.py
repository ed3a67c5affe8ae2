"""The packages of a lock in `requirements/` as a CycloneDX list (SBOM), read from the lock alone.

A package's licence is not in a lock, so it is not in the list. Equal locks give equal bytes: the serial number is made
of the lock, the time is the commit's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import NAMESPACE_OID, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from ..experiment.errors import InputError
from .citation import Citation

PIN = re.compile(r"([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *; *([^\\]+?))? *\\?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64}) *\\?")
VIA = re.compile(r"# (?:via)? *(\S.*)?")


@dataclass
class Pin:
    """A package of a lock."""

    name: str
    version: str
    marker: str  # when it is installed; empty: always
    hashes: list[str] = field(default_factory=list)  # SHA-256 of each file that may be installed
    wanted_by: list[str] = field(default_factory=list)  # other packages, or `-r` and a file

    @property
    def ref(self) -> str:
        return f"{self.name}=={self.version}"


def pins(text: str, where: str) -> list[Pin]:
    """The packages of a lock, in its order.

    Raises:
        InputError: a line is not as `make lock` writes it, or a package has no hash; the message begins with `where`.
    """
    found: list[Pin] = []
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if not said or line.startswith("#"):
            continue
        if pin := PIN.fullmatch(said):
            found.append(Pin(pin[1], pin[2], pin[3] or ""))
        elif found and (digest := HASH.fullmatch(said)):
            found[-1].hashes.append(digest[1])
        elif found and (via := VIA.fullmatch(said)):
            found[-1].wanted_by += [via[1]] if via[1] else []
        else:
            raise InputError(f"{where}, line {number}: {said!r:.60}: expected a package, a hash or who wants it")
    for pinned in found:
        if not pinned.hashes:
            raise InputError(f"{where}: {pinned.ref} has no hash")
    return found


def listing(text: str, where: str, about: Citation, time: int) -> str:
    """The CycloneDX JSON of a lock.

    Args:
        text: the lock.
        where: its path.
        time: of the commit, in seconds since 1970.
    """
    found = pins(text, where)
    components = {pin.ref: component(pin) for pin in found}
    wants = {pin.ref: [other.ref for other in found if _wants(pin, other, found)] for pin in found}
    wants[about.name] = [pin.ref for pin in found if _wants(None, pin, found)]
    return document(about, f"{where}\n{text}", time, {"lock": where}, components, wants)


def document(
    about: Citation,
    key: str,
    time: int,
    told: Mapping[str, str],
    components: Mapping[str, Component],
    wants: Mapping[str, Sequence[str]],
) -> str:
    """A list about this project as CycloneDX JSON.

    Args:
        key: what the list is made of; its serial number follows from it.
        time: of the list, in seconds since 1970.
        told: what else is said of it.
        components: what is on it, by reference.
        wants: which of them each asks for, by reference; the project's is its name.
    """
    root = Component(
        name=about.name,
        version=about.version,
        type=ComponentType.APPLICATION,
        bom_ref=about.name,
        licenses=[DisjunctiveLicense(id=about.license)],
    )
    bom = Bom(
        serial_number=uuid5(NAMESPACE_OID, key),
        metadata=BomMetaData(
            component=root,
            timestamp=datetime.fromtimestamp(time, UTC),
            properties=[Property(name=name, value=value) for name, value in told.items()],
        ),
        components=components.values(),
    )
    for parent, asked in wants.items():
        bom.register_dependency({about.name: root, **components}[parent], [components[ref] for ref in asked])
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def component(pin: Pin) -> Component:
    return Component(
        name=pin.name,
        version=pin.version,
        bom_ref=pin.ref,
        purl=PackageURL("pypi", name=pin.name, version=pin.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.hashes],
        properties=[Property(name="marker", value=pin.marker)] if pin.marker else [],
    )


def _wants(parent: Pin | None, pin: Pin, found: Sequence[Pin]) -> bool:
    """Does a package ask for another? The bundle itself, None, for those that nobody else in the lock asks for."""
    names = {other.name for other in found}
    if parent is None:
        return not names & set(pin.wanted_by) or any(by.startswith("-r ") for by in pin.wanted_by)
    return parent.name in pin.wanted_by
