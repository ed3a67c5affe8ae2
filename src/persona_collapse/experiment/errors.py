"""The one error that users see, and how a command turns it into one line and exit code 2."""

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


class InputError(Exception):
    """Something the user gave us is wrong. The message is one line: what is wrong and what is allowed."""


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: an `InputError` or a full disk becomes one line on stderr and exit code 2.

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
            if error.errno is None or (error.filename is None and error.errno != errno.ENOSPC):
                raise
            sys.exit(_complain(f"{error.filename or 'disk'}: {error.strerror}"))
        except Exception as error:
            if os.strerror(errno.ENOSPC) not in str(error):  # safetensors reports a full disk as an error of its own
                raise
            sys.exit(_complain(f"disk: {os.strerror(errno.ENOSPC)}"))

    return wrapped


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2
