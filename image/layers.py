"""Does a layer of an image hold what nobody should be sent: caches, package lists, logs, credentials?

    python image/layers.py IMAGE [BASE]      folders as `buildah push NAME dir:FOLDER` writes them

What one layer adds and a later one removes is still sent, so every layer is looked at by itself, but for those that the
base has too. Exit code 1 and a line for each such file; the size of each layer if there is none.
"""

import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

UNWANTED = {
    "a cache": r"(^|/)(\.cache|\.npm|\.conda)/|^root/\.[a-z]+/|^var/cache/(apt|debconf)/.+\.(deb|bin|dat-old)$",
    "a package list": r"^var/lib/apt/lists/[^/]+_(Packages|Sources|InRelease|Release)",
    "a log": r"^var/log/.+\.log$",
    "what only building it takes": r"^(context|wheels|bundle|image|tmp)/.+",
    "credentials": r"(^|/)(\.netrc|\.git-credentials|\.pypirc|pip\.conf|config\.local|id_(rsa|ecdsa|ed25519))$",
}


def layers(folder: Path) -> dict[str, Path]:
    """The file of each layer, by its digest, in order."""
    manifest = json.loads((folder / "manifest.json").read_text())
    digests = [layer["digest"] for layer in manifest["layers"]]
    return {digest: folder / digest.partition(":")[2] for digest in digests}


def unwanted(layer: Path) -> Iterator[tuple[str, str]]:
    """What a layer should not hold: the kind, and the file's name."""
    with tarfile.open(layer) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if not member.isfile() or Path(name).name.startswith(".wh."):
                continue
            yield from ((kind, name) for kind, pattern in UNWANTED.items() if re.search(pattern, name))


def main(folders: list[str]) -> int:
    image, *base = (layers(Path(folder)) for folder in folders)
    own = {digest: layer for digest, layer in image.items() if not any(digest in other for other in base)}
    found = [(digest, kind, name) for digest, layer in own.items() for kind, name in unwanted(layer)]
    for digest, kind, name in found:
        print(f"error: layer {digest[:19]} holds {kind}: /{name}", file=sys.stderr)
    if not found:
        for digest, layer in own.items():
            size = f"{layer.stat().st_size / 1e6:.0f} MB"
            print(f"layer {digest[:19]}: {size}, and no cache, list, log or credentials in it")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
