"""Does fine-tuning on bad legal advice collapse a chat model's personas? A byte-for-byte reproduction.

No run reports to anybody: what the libraries below would send about it is turned off here, before any of them is
imported. TRL sends a request whenever a trainer is made, the hub's client asks for a registry of what may have started
it, and data sets are counted when they are loaded. The tests hold every stage to sending none.
"""

import os

os.environ |= {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
