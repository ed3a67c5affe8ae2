"""What this machine is, as far as it could matter to the bytes: CPU, threads, library versions, settings.

    python -m persona_collapse.record.environment      writes run_info/<profile>/recorded.json; `make record` calls it

No stage reads it and no result holds it; it is what a run that gives other bytes is compared with. Of every package it
says what `import` takes here, which need not be what was installed: see `foreign`.
"""

import functools
import importlib.util
import os
import platform
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions, packages_distributions
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_json, write_json
from ..experiment.layout import Layout

VECTORS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_fp16")
SETTINGS = ("PORTABLE_NUMERICS", "MKL_", "OMP_", "KMP_", "ONEDNN_", "DNNL_", "ATEN_", "TORCH_", "PYTORCH_")
CODE = Path("src/persona_collapse")

Description = dict[str, str | int | dict[str, str]]


def recorded(layout: Layout) -> Path:
    """Where the environment is kept that a profile's record was made in."""
    return layout.run_info / "recorded.json"


def read(path: Path) -> Description:
    """A description as `describe` gives it; an `InputError` if the file holds something else."""
    try:
        return TypeAdapter(Description).validate_python(read_json(path))
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"][:1])) or "(top level)"
        raise InputError(f"{path}: {key}: not a description of an environment; `make record` writes one") from None


def describe(cpuinfo: Path = Path("/proc/cpuinfo")) -> Description:
    """CPU, threads, system, Python, packages as they are imported here, and settings that numerical libraries read."""
    fields: dict[str, str] = {}
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", "").split()
    packages: dict[str, str] = {}
    for found in distributions():  # in the order in which modules are looked for
        packages.setdefault(found.metadata["Name"], found.version)
    for module, place in foreign().items():
        for name in packages_distributions().get(module, [module]):
            packages[name] = f"{_version(module, name, place)}, not from the bundle's environment"
    return {
        "cpu": fields.get("model name", platform.processor()),
        "vector instructions": " ".join(name for name in VECTORS if name in flags),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "settings": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(SETTINGS)},
        "packages": dict(sorted(packages.items())),
    }


@functools.cache
def foreign() -> dict[str, str]:
    """The modules that are imported from elsewhere than the bundle's environment, with the file that is.

    A `PYTHONPATH`, a user's own site-packages or a file in the working directory can stand before what was installed.
    """
    paths = sysconfig.get_paths()
    own = [Path(paths[key]).resolve() for key in ("purelib", "platlib", "stdlib", "platstdlib")]
    names = {name for name in packages_distributions() if name.isidentifier()} | sys.stdlib_module_names
    names -= {CODE.name, "distutils"}  # setuptools' own, and looking for it warns
    places = {name: _file_of(name) for name in sorted(names)}
    return {
        name: str(place)
        for name, place in places.items()
        if place and not any(folder in place.parents for folder in own)
    }


def _file_of(name: str) -> Path | None:
    """The file that `import name` reads, or the folder of a package without one; none for what is built in."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return None
        file = spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or []), None)
    return Path(file).resolve() if file else None


def _version(module: str, name: str, place: str) -> str:
    """The version of a module that is imported from elsewhere: its own word, or that of the metadata beside it."""
    said = getattr(sys.modules.get(module), "__version__", None)
    beside = [str(folder) for folder in Path(place).parents[:2]]
    found: list[Distribution] = list(distributions(name=name, path=beside))
    return said if isinstance(said, str) else found[0].version if found else "unknown version"


def require_own_code() -> None:
    """Raise `InputError` if the package that runs is another folder's than the one here."""
    running = Path(__file__).resolve().parent.parent
    if CODE.is_dir() and running != CODE.resolve():
        raise InputError(f"the code that runs is {running}, not this folder's {CODE}; `make setup` mends it")


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


def require_own() -> None:
    """Raise `InputError` if anything is imported from elsewhere than the bundle's environment and this folder."""
    require_own_code()
    for name, place in foreign().items():
        raise InputError(f"{name} is imported from {place}, not from the bundle's environment; unset PYTHONPATH")


def write() -> None:
    """Keep the description of this environment as that of the record."""
    path = recorded(parameters.load().layout)
    write_json(path, describe())
    print(f"wrote {path}", file=sys.stderr)


@one_line_errors
def main() -> None:
    require_own()
    write()


if __name__ == "__main__":
    main()
