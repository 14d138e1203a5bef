"""What a mutant is, and the list of them: a TOML file a room in ``mutants``."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "mutants"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One protection and how it is taken out.

    Attributes
    ----------
    id
        Unique; starts with its room.
    takes_out
        The protection, in a few words.
    file
        Of the product, below the root of the checkout.
    old, new
        Text that occurs exactly once in the file, and what takes its place.
    tests
        Files, folders or node ids that most likely notice it, the quickest first.
    """

    id: str
    takes_out: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def occurrences(self, root: Path) -> int:
        """Return how often the old text occurs in the file below a root."""
        return (root / self.file).read_text().count(self.old)

    def mutated(self, root: Path) -> str:
        """Return the text of the file below a root without the protection.

        Raises
        ------
        ValueError
            The old text does not occur exactly once.
        """
        if self.occurrences(root) != 1:
            raise ValueError(f"{self.id}: the old text does not occur exactly once in {self.file}.")
        return (root / self.file).read_text().replace(self.old, self.new)


def read_mutants(folder: Path = FOLDER) -> Sequence[Mutant]:
    """Return all mutants, file by file and in the order in which they are listed."""
    return [
        Mutant(**{**entry, "tests": tuple(entry["tests"])})
        for path in sorted(folder.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["mutant"]
    ]
