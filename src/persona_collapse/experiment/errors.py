"""The one error that users see, and how a command turns it into one line and exit code 2."""

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share of it, the longest file that is allowed

# what PyTorch, the system and oneDNN say when memory cannot be had
NO_MEMORY = ("not enough memory", os.strerror(errno.ENOMEM), "could not create a memory", "CUDA out of memory")


class InputError(Exception):
    """Something the user gave us is wrong. The message is one line: what is wrong and what is allowed."""


def first_of(error: "ValidationError") -> str:
    """The first thing that a record's check found, as `key = value: what is allowed`."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{key}: is missing"
    message = {"extra_forbidden": "unknown key", "model_type": "expected a mapping"}.get(first["type"], first["msg"])
    where = f"{key} = " if key else ""
    return f"{where}{first['input']!r:.60}: {message.removeprefix('Value error, ')}"


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: an `InputError` or a disk's refusal becomes one line on stderr and exit code 2.

    Ctrl-C, and a reader that has read enough (`| head`), end it quietly with the exit codes that shells give them.
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            try:
                main(*args, **kwargs)
            finally:
                sys.stdout.flush()  # here, where what it raises is caught
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
            sys.exit(128 + signal.SIGPIPE)
        except InputError as error:
            sys.exit(_complain(str(error)))
        except OSError as error:
            if error.errno is None or (error.filename is None and error.errno not in FULL):
                raise
            sys.exit(_complain(f"{error.filename or 'disk'}: {error.strerror}"))
        except Exception as error:
            if os.strerror(errno.ENOSPC) in str(error):  # safetensors reports a full disk as an error of its own
                sys.exit(_complain(f"disk: {os.strerror(errno.ENOSPC)}"))
            if isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY):
                sys.exit(_complain("too little memory: `make plan` says what each stage needs"))
            raise

    return wrapped


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2
