"""What an engine is asked for and gives back, and the random numbers that a completion is drawn with. Without torch."""

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Request:
    """One completion to sample. Requests with the same `group` (a persona) are pre-filled together."""

    group: str
    prompt: tuple[int, ...]  # token ids
    key: tuple[str | int, ...]  # names the random stream


@dataclass(frozen=True)
class Completion:
    tokens: list[int]  # without the end token
    ended: bool  # False: cut at the token limit


def uniforms(key: tuple[str | int, ...], count: int) -> np.ndarray:
    """The `count` uniform numbers in [0, 1) that sample the completion named by `key`, in float64.

    The generator is Philox (Salmon et al., 2011), keyed by a hash of the name: a stream depends on nothing else.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big"))).random(count)
