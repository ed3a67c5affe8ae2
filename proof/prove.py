"""Run a micro version of the pipeline under conditions that must not matter, and compare every byte and operator.

    make prove              three emulated CPUs, 1 to 7 threads, another environment; then the control; 6 minutes
    make prove QUICK=1      one emulated CPU, fewer rows: 5 threads and another environment at once
    make prove RECORD=1     also writes proof/operators.json, the list of operators seen to agree on every CPU

The control is the same run with the guarantee off: PyTorch as it comes, with 1 and 5 threads and as on an older CPU. If
its rows agree with each other, this machine cannot show that the guarantee does anything, and the proof fails.
Exit code: 0 if all rows agree and the control's do not, 1 otherwise, 2 if an emulator is missing.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from persona_collapse.model import numerics

numerics.enable()

import workspace
from transformers.utils import logging

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError, one_line_errors
from persona_collapse.experiment.files import write_json
from persona_collapse.model.base import convert

HERE = Path(__file__).parent
EMULATOR = "qemu-x86_64"
CPUS = ("Haswell", "Skylake-Client", "EPYC-Rome")
MICRO = (
    "training.train:em training.train:couple copy:couple:em-couple copy:em:couple-em sampling.evaluate:em-couple "
    "sampling.evaluate:couple-em sampling.likelihood:em-couple sampling.geometry:em sampling.advice:em report.figures"
)
WIDE = "training.train:em sampling.evaluate:em sampling.likelihood:em"
# what of a run is shown, and the files that it is a digest of
COLUMNS = {
    "train em": ("micro/adapters/smollm2/42/em/", "micro/eval_results/smollm2/training/42/em/"),
    "train couple": ("micro/adapters/smollm2/42/couple/", "micro/eval_results/smollm2/training/42/couple/"),
    "em-couple": "micro/eval_results/smollm2/runs/42/em-couple/",
    "couple-em": "micro/eval_results/smollm2/runs/42/couple-em/",
    "em": "micro/eval_results/smollm2/runs/42/em/",
    "figures": "micro/figures/",
    "operators": "operators/",
    "wide batch": ("wide/", "operators of"),  # too long for emulation
}
OLDER_CPU = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


@dataclass(frozen=True)
class Row:
    name: str
    threads: int
    environment: dict[str, str] = field(default_factory=dict)
    cpu: str | None = None
    wide: bool = True
    elsewhere: bool = False  # another folder, its files made in another order, another umask
    control: bool = False


def rows(quick: bool, cpus: tuple[str, ...]) -> list[Row]:
    """The conditions, the slow ones last."""
    other = {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "12345", "HOME": "/nonexistent"}
    off = {"PORTABLE_NUMERICS": "off"}
    emulated = [Row(f"emulated {cpu}", 1 if len(cpus) > 1 else 2, cpu=cpu, wide=False) for cpu in cpus]
    control = [
        Row("off, 1 thread", 1, off, control=True),
        Row("off, 5 threads", 5, off, control=True),  # 3 cut most tensors of the recipe into whole vectors
        Row("off, as on AVX2", 1, {**off, **OLDER_CPU}, control=True),
    ]
    if quick:  # all that must not matter in one row; the wide batch is left to tests/test_census.py
        few = [Row("1 thread", 1), Row("elsewhere, 5 threads", 5, other, elsewhere=True), *control[:2]]
        return [*(replace(row, wide=False) for row in few), *emulated]
    native = [Row(f"{n} thread{'s' * (n > 1)}", n) for n in (1, 2, 3, 4, 5, 7)]
    return [*native, Row("elsewhere", 2, other, elsewhere=True), *control, *emulated]


def run(row: Row, small: Path, place: Path) -> dict[str, str]:
    """The digests of one row: `micro/FILE`, `wide/FILE` and `operators/NAME`."""
    found = {}
    folder = place / (f"Ein anderer Ort für {row.name}" if row.elsewhere else row.name.replace(" ", "-"))
    for part, steps in (("micro", MICRO), ("wide", WIDE)):
        if part == "wide" and not row.wide:
            continue
        work = folder / part
        workspace.make_workspace(work, small, wide=part == "wide", backwards=row.elsewhere)
        command = [sys.executable, str(HERE / "micro.py"), str(work), *steps.split()]
        threads = str(row.threads)
        # not what numerics.enable() has set here: the control must be PyTorch as it comes
        inherited = numerics.clean_environment()
        result = subprocess.run(
            ["nice", *([EMULATOR, "-cpu", row.cpu] if row.cpu else []), *command],
            env={**inherited, "OMP_NUM_THREADS": threads, "MPLCONFIGDIR": str(folder), **row.environment},
            capture_output=True,
            text=True,
            check=False,
            umask=0o077 if row.elsewhere else -1,
        )
        if result.returncode:
            raise InputError(f"row {row.name!r}, {part}: exit code {result.returncode}: {result.stderr[-2000:]}")
        assert json.loads(result.stdout.splitlines()[-1])["threads"] == row.threads
        digests = json.loads((work / "digests.json").read_text())
        found |= {f"{part}/{name}": digest for name, digest in digests["files"].items()}
        prefix = "operators" if part == "micro" else "operators of the wide batch"
        found |= {f"{prefix}/{name}": digest for name, digest in digests["operators"].items()}
    return found


def shown(found: dict[str, str], prefix: str | tuple[str, ...]) -> str:
    """One short digest of all entries with a prefix."""
    some = [f"{name} {digest}" for name, digest in sorted(found.items()) if name.startswith(prefix)]
    return hashlib.sha256("\n".join(some).encode()).hexdigest()[:8] if some else "-"


def differences(reference: dict[str, str], found: dict[str, str]) -> list[str]:
    """The files and operators that a row has otherwise, or not at all, leaving out the parts that it did not run."""
    parts = {name.split("/")[0] for name in found}
    expected = {name: digest for name, digest in reference.items() if name.split("/")[0] in parts}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--cpus", help="names for qemu, separated by spaces; an empty text leaves emulation out")
    args = parser.parse_args()
    cpus = tuple(args.cpus.split()) if args.cpus is not None else CPUS[: 1 if args.quick else None]
    if cpus and not shutil.which(EMULATOR):
        raise InputError(f"{EMULATOR} is not installed: Debian's qemu-user has it; `make prove CPUS=` does without")
    if args.record and len(cpus) < len(CPUS):
        raise InputError(f"RECORD=1 needs all of {', '.join(CPUS)}")
    logging.set_verbosity_error()  # that 28 layers are left out is meant
    logging.disable_progress_bar()
    start = time.monotonic()
    os.chdir(HERE.parent)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        profile = parameters.load(Path("profiles/smollm2.yaml"))
        base = profile.layout.model
        if not (base / "model.safetensors").exists():
            base = place / "base"
            convert(profile.base, profile.compute.precision, base)
        small = place / "model"
        workspace.make_model(base, small, workspace.VOCABULARY)
        ok = prove(rows(args.quick, cpus), small, place, args.record)
    print(f"{time.monotonic() - start:.0f} s")
    sys.exit(0 if ok else 1)


def prove(conditions: list[Row], small: Path, place: Path, record: bool) -> bool:
    """Run all rows, four at a time since emulation uses one core each, print the table and the verdict."""
    width = max(len(row.name) for row in conditions)
    print(f"{'this CPU: ' + cpu_name():<{width}}\n")
    print(f"{'':<{width}}  " + "  ".join(f"{name:<12}" for name in COLUMNS), flush=True)
    found: dict[str, dict[str, str]] = {}
    with ThreadPoolExecutor(4) as pool:
        for row, digests in zip(conditions, pool.map(lambda row: run(row, small, place), conditions), strict=True):
            found[row.name] = digests
            print(
                f"{row.name:<{width}}  " + "  ".join(f"{shown(digests, p):<12}" for p in COLUMNS.values()), flush=True
            )
    portable = [row for row in conditions if not row.control]
    reference = found["1 thread"]
    ok = True
    for row in portable:
        if differs := differences(reference, found[row.name]):
            ok = False
            print(f"\n{row.name}: DIFFERS from 1 thread in {len(differs)} of its digests: {', '.join(differs[:8])}")
    operators = [name for name in reference if name.startswith("operators/")]
    if ok:
        files = sum(not name.startswith("operators") for name in reference)
        print(f"\n{len(portable)} rows agree on {files} files and on all that {len(operators)} operators gave")
    first, *others = (found[row.name] for row in conditions if row.control)
    differs = sorted({name for other in others for name in differences(first, other)})
    if not differs:
        print("the control does not differ from itself: this machine cannot show that the guarantee is needed")
    else:
        files = [name for name in differs if not name.startswith("operators")]
        print(
            f"control, as it must: {len(files)} files and {len(differs) - len(files)} operators differ among its rows"
        )
    if ok and differs and record:
        cpus = [row.cpu for row in conditions if row.cpu]
        content = {
            "checked_on": [cpu_name(), *(f"{cpu} (emulated)" for cpu in cpus)],
            "operators": sorted(name.removeprefix("operators/") for name in operators),
            "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
        }
        write_json(HERE / "operators.json", content)
    return ok and bool(differs)


def cpu_name() -> str:
    """The CPU's name as the kernel gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
