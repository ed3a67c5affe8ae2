"""`ro-crate-metadata.json`: what the archive is and what is in it, as repositories and artifact committees read it.

Names what lies at the top of the archive, and of the profile's results those that a reader begins with. The time is the
commit's; title, authors and licence are those of `CITATION.cff`, the licence of the data that of `data/README.md`.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from ..experiment.errors import InputError
from ..experiment.files import to_json
from ..experiment.layout import DATA, Layout
from ..record.committed import Commit
from .citation import Citation

NAME = "ro-crate-metadata.json"
SHEET = str(DATA / "README.md")
STATED = re.compile(r"^## Licence\n+([A-Za-z0-9.+-]+?)[,.]?\s", re.MULTILINE)
VERSION = "1.1"  # of RO-Crate
ABOUT = {  # what lies at the top
    "CITATION.cff": "How to cite it",
    "LICENSE": "The licence of the software",
    "Makefile": "Every command; `make help` lists them",
    "README.md": "What was asked and found, and how to reproduce it",
    "data": "Data sets, prompts, the report's own numbers, and the claims",
    "docs": "Reference pages",
    "dvc.lock": "The record: the hash of every input and output of every stage",
    "dvc.yaml": "The graph of stages",
    "eval_results": "What was computed from the answers, by profile",
    "figures": "Figures, by profile",
    "manifest-sha256.txt": "SHA-256 of every file; `sha256sum --check manifest-sha256.txt`",
    "paper": "The paper and its tables, by profile",
    "params.yaml": "The active profile",
    "profiles": "Complete sets of parameters",
    "remote": "DVC's remote: adapters, answers and coupling data by their MD5; `make verify` fetches them",
    "requirements": "What is installed, every package pinned and hashed",
    "run_info": "Environments in which records were made, and what was measured",
    "sbom": "The packages of each lock as CycloneDX JSON",
    "src": "The code",
    "tests": "The tests",
}
MEDIA = {
    ".cff": "text/yaml",
    ".json": "application/json",
    ".lock": "text/yaml",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".yaml": "text/yaml",
}


def licence_of_data(sheet: str) -> str:
    """The licence that the data sheet states, by its name in SPDX's list.

    Raises:
        InputError: it states none.
    """
    if not (stated := STATED.search(sheet)):
        raise InputError(f"{SHEET}: states no licence: expected `## Licence` and, below it, one by its SPDX name")
    return stated[1]


def metadata(names: Collection[str], citation: Citation, data_licence: str, commit: Commit, profile: str) -> str:
    """The content of the file.

    Args:
        names: the paths of all other files of the archive.
        data_licence: by its name in SPDX's list.
        profile: the active one, whose results are named one by one.
    """
    crate = ROCrate(version=VERSION)
    licences = {name: _licence(crate, name) for name in dict.fromkeys((citation.license, data_licence))}
    authors = [
        crate.add(ContextEntity(crate, f"#author-{number}", {"@type": "Organization", "name": author.name}))
        for number, author in enumerate(citation.authors, 1)
    ]
    when = datetime.fromtimestamp(commit.time, UTC).isoformat()
    root: dict[str, Any] = {
        "name": citation.title,
        "description": f"A reproduction: code, data, locks, results and their record; the active profile is {profile}",
        "version": citation.version,
        "identifier": commit.hash,
        "datePublished": when,
        "license": licences[citation.license],
        "author": authors,
    }
    for key, value in root.items():
        crate.root_dataset[key] = value
    for name in dict.fromkeys(path.partition("/")[0] for path in sorted(names)):
        about = {"name": name, **({"description": ABOUT[name]} if name in ABOUT else {})}
        if name in names:
            crate.add_file(dest_path=name, properties={**about, **_media(name)})
        else:
            own = {"license": licences[data_licence]} if name == str(DATA) else {}
            crate.add_dataset(dest_path=name, properties={**about, **own})
    for path, about_it in _results(Layout(profile)).items():
        if path in names:
            added = crate.add_file(dest_path=path, properties={"name": about_it, **_media(path)})
            if path.endswith(".pdf"):
                crate.root_dataset["mainEntity"] = added
    for path in sorted(path for path in names if path.startswith("sbom/")):
        of = path.removeprefix("sbom/").removesuffix(".cdx.json")
        media = {"encodingFormat": "application/vnd.cyclonedx+json"}
        crate.add_file(dest_path=path, properties={"name": f"Packages of requirements/{of}.txt", **media})
    return to_json(crate.metadata.generate())


def _licence(crate: ROCrate, name: str) -> Any:
    page = f"https://spdx.org/licenses/{name}"
    return crate.add(ContextEntity(crate, page, {"@type": "CreativeWork", "name": name, "url": page}))


def _media(path: str) -> dict[str, str]:
    ending = "." + path.rpartition(".")[2]
    return {"encodingFormat": MEDIA[ending]} if ending in MEDIA else {}


def _results(layout: Layout) -> dict[str, str]:
    return {
        f"paper/{layout.profile}/report.pdf": "The paper",
        str(layout.results / "claims.json"): "The claims and the verdicts on them",
        str(layout.statistics): "Marker rates, their intervals, and the gates",
        str(layout.tables / "numbers.json"): "Every number that a text quotes, and where it comes from",
        SHEET: "The data sheet, with the licence of the data and what not to do with them",
    }
