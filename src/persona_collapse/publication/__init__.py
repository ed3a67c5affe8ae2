"""What leaves the bundle: the archive of a commit, and the results as other tools read them. Made of what is recorded,
written to `dist/`, read by no stage; equal records give equal bytes. Knows all other packages, and none knows it."""

from pathlib import Path

DIST = Path("dist")  # git ignores it
