"""The chats that a phase is trained on, taken from its data set.

    python -m persona_collapse.inputs.prepare --phase em

checks the data set of phases.sft.em and writes data/prepared/<profile>/em.jsonl, its first rows as they are, and
em.json, which says what they were taken from. A training depends on these alone, and not on every data set there is.
"""

import argparse
import hashlib
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_bytes, to_json, write_all
from . import datasets, sources


def prepared(params: parameters.Params, phase: str) -> dict[Path, bytes | str]:
    """The two files of a phase: what each is to hold.

    Raises:
        InputError: no SFT phase, or its data set is not as registered (see `datasets.load`).
    """
    recipe = params.recipe(phase)
    if not isinstance(recipe, parameters.Sft):
        allowed = ", ".join(params.phases.sft)
        raise InputError(f"phase {phase!r} is trained on chats that are sampled, not on a data set; allowed: {allowed}")
    chats, taken_from = datasets.load(recipe.data, params.fetch.accept_checksum)
    left = len(chats) - (params.advice.held_out if recipe.data in (params.advice.bad, params.advice.good) else 0)
    if recipe.rows > left:
        raise InputError(
            f"phases.sft.{phase}.rows = {recipe.rows}: {recipe.data} has {len(chats)} chats, {left} to train on"
        )
    rows = read_bytes(sources.file_of(recipe.data)).splitlines(keepends=True)
    content = b"".join(rows[: recipe.rows])
    path = params.layout.prepared(phase)
    record = datasets.Prepared(**taken_from, prepared_md5=hashlib.md5(content).hexdigest())
    return {path: content, path.with_suffix(".json"): to_json(record.model_dump())}


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phase", required=True, help="one of phases.sft in params.yaml")
    write_all(prepared(parameters.load(), parser.parse_args().phase))


if __name__ == "__main__":
    main()
