"""Where everything lies, relative to the repository's root, in which every command runs."""

from dataclasses import dataclass
from pathlib import Path

PARAMS = Path("params.yaml")
DATA = Path("data")
SOURCES = DATA / "sources.yaml"  # where each data set comes from, with its checksum
SETS = DATA / "sets"  # the data sets that come with the repository
FETCHED = DATA / "fetched"  # what is downloaded, each with a record of what was found
PUBLISHED = DATA / "published.json"


@dataclass(frozen=True)
class Layout:
    """The places of one profile's files: profiles share nothing but what they read."""

    profile: str

    @property
    def model(self) -> Path:
        """The folder of the base model."""
        return Path("model") / self.profile

    @property
    def results(self) -> Path:
        return Path("eval_results") / self.profile

    @property
    def statistics(self) -> Path:
        return self.results / "statistics.json"

    @property
    def tables(self) -> Path:
        return Path("paper/tables") / self.profile

    @property
    def figures(self) -> Path:
        return Path("figures") / self.profile

    @property
    def run_info(self) -> Path:
        """Wall time, speed, versions: no stage's output, and read by nothing that makes a result."""
        return Path("run_info") / self.profile

    def prepared(self, phase: str) -> Path:
        """The chats that an SFT phase is trained on; beside them lies a record of where they come from."""
        return DATA / "prepared" / self.profile / f"{phase}.jsonl"

    def coupling(self, seed: int, parent: str) -> Path:
        """The coupling data sampled from the chain `parent`."""
        return DATA / "coupling" / self.profile / str(seed) / f"{parent}.jsonl"

    def adapter(self, seed: int, chain: str) -> Path:
        """The folder of the adapter that the last phase of `chain` trained."""
        return Path("adapters") / self.profile / str(seed) / chain

    def training(self, seed: int, chain: str) -> Path:
        """The folder of what is noted of that training: the data set it read, the loss of every step."""
        return self.results / "training" / str(seed) / chain

    def merged(self, seed: int, chain: str) -> Path:
        """The folder of a chain's merged weights, for engines that read weights from files."""
        return Path("model") / f"{self.profile}-merged" / str(seed) / chain

    def run(self, seed: int, chain: str) -> Path:
        """The folder of one condition's and seed's completions and counts."""
        return self.results / "runs" / str(seed) / chain
