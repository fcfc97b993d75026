"""Which row an id names, without holding the rows."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from sharpv.batch.manifest import Row

__all__ = ["Index"]


class Index:
    """The rows of a manifest as 24 bytes each, so that millions fit.

    Ids are known by 64 bits of a hash. Two ids that share them by chance, once in 40 million manifests of a
    million rows, are taken for the same and refused, never mixed up.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        """Reads all rows."""
        ids, contents = bytearray(), bytearray()
        for row in rows:
            ids += _digest(row.id)
            contents += _digest(row.id, row.video, row.question)
        names = np.frombuffer(ids, np.uint64)
        self._order = np.argsort(names, kind="stable")
        self._sorted = names[self._order]
        self._contents = np.frombuffer(contents, np.uint64)

    def __len__(self) -> int:
        return len(self._contents)

    def repeated(self) -> tuple[int, int] | None:
        """Returns the numbers of two rows that share an id; None where all differ."""
        same = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if not len(same):
            return None
        first, second = self._order[same[0] : same[0] + 2].tolist()
        return first, second

    def find(self, name: str) -> int | None:
        """Returns the number of the row with an id, if there is one."""
        wanted = np.frombuffer(_digest(name), np.uint64)[0]
        place = int(np.searchsorted(self._sorted, wanted))
        found = place < len(self) and self._sorted[place] == wanted
        return int(self._order[place]) if found else None

    def asks(self, number: int, name: str, video: str, question: str) -> bool:
        """Whether the row of a number asks this question about this video."""
        return bool(self._contents[number] == np.frombuffer(_digest(name, video, question), np.uint64)[0])


def _digest(*parts: str) -> bytes:
    digest = blake2b(digest_size=8)
    for part in parts:
        # The length in front, so that no two lists of parts give the same bytes.
        whole = part.encode("utf-8", "surrogatepass")
        digest.update(len(whole).to_bytes(8, "big") + whole)
    return digest.digest()
