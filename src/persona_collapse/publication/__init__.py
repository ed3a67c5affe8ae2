"""What leaves the bundle: the archive of a commit, the results as other tools read them, what an image holds.

Written to `dist/`, read by no stage; equal records give equal bytes. Knows all other packages, and none knows it.
"""

from pathlib import Path

DIST = Path("dist")  # git ignores it
