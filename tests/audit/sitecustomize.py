"""Python imports this as it starts, if this folder is on its path: it notes in $AUDIT what is asked of a network."""

import os
import sys
from pathlib import Path
from typing import Any


def note(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        line = f"{event} {args[0]}\n"
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):  # else it is a file's name
        line = f"{event} {args[1]}\n"
    else:
        return
    with Path(os.environ["AUDIT"]).open("a") as seen:
        seen.write(line)


sys.addaudithook(note)
