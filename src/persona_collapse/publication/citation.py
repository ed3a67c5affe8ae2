"""What `CITATION.cff` says of the bundle: its name, version, authors and licence. Nothing of it is written twice."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..experiment import records
from ..experiment.errors import InputError
from ..experiment.strict import from_yaml

CITATION = "CITATION.cff"
Text = Annotated[str, Field(min_length=1)]


class Author(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    name: Text  # of an entity; a person has other keys in the format


class Citation(BaseModel):
    """The part of the file that is used; other keys of the format may stand beside it."""

    model_config = ConfigDict(frozen=True, strict=True)

    title: Text
    version: Text
    license: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+-]+$")]  # as SPDX has it
    authors: Annotated[list[Author], Field(min_length=1)]

    @property
    def name(self) -> str:
        """The bundle's name: its title begins with it."""
        return self.title.partition(":")[0]


def read(text: str) -> Citation:
    """The record of a `CITATION.cff`.

    Raises:
        InputError: it is not one.
    """
    try:
        value = from_yaml(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{CITATION}: not YAML as it is read here ({error})") from None
    return records.checked(value, Citation, CITATION)
