"""What an entity's calls of one action were about: a bounded set of resources, made coarser where there are too many.

A bucket's million objects are not kept one by one: beyond `MOST`, the resources that share the most are taken together
as what they begin with. A set only ever grows in what it covers. Streams of a log group are taken together at once: their
names are made anew with every environment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

MOST = 50
"""Resources and beginnings at most. A resource is at most some 1,100 characters, so that a set fits into one value."""
_ENDS = re.compile("[/:]")
_STREAM = ":log-stream:"


class Reach:
    """literals: resources as they were asked for. heads: beginnings, each standing for everything that starts so."""

    __slots__ = ("changes", "heads", "literals")

    def __init__(self, literals: Iterable[str] = (), heads: Iterable[str] = ()) -> None:
        self.literals = set(literals)
        self.heads = tuple(heads)
        self.changes = 0
        """Grows with each change: whoever wrote a copy can tell whether there is more by now."""

    def add(self, resource: str) -> None:
        """Cover a resource. Asking `resource in literals` first is cheaper where it is likely."""
        if resource in self.literals or resource.startswith(self.heads):
            return
        group, stream, _ = resource.partition(_STREAM)
        if stream:
            self._take_together(group + ":")
        else:
            self.changes += 1
            self.literals.add(resource)
        self._bound(MOST)

    def merge(self, other: Reach) -> None:
        """Cover all that another covers."""
        for head in other.heads:
            self._take_together(head)
        for resource in other.literals:
            self.add(resource)
        self._bound(MOST)

    def covers(self, resource: str) -> bool:
        return resource in self.literals or resource.startswith(self.heads)

    def copy(self) -> Reach:
        return Reach(self.literals, self.heads)

    def patterns(self, most: int = MOST) -> list[str]:
        """Everything covered, as a policy's Resource names it, in at most that many patterns.

        Stars and the like in the key of an S3 object are that very character; elsewhere a star is the operation's own
        (a list of tables is about `table/*`), since no other name may hold one.
        """
        if most < len(self.literals) + len(self.heads):
            coarser = self.copy()
            coarser._bound(max(most, 1))
            return coarser.patterns()
        if "*" in self.literals or "" in self.heads:
            return ["*"]
        return sorted({_escaped(text) for text in self.literals} | {_escaped(head) + "*" for head in self.heads})

    def _bound(self, most: int) -> None:
        while len(self.literals) + len(self.heads) > most:
            self._take_together(_best_head([*self.literals, *self.heads]))

    def _take_together(self, head: str) -> None:
        if head.startswith(self.heads):
            return
        self.changes += 1
        self.heads = (*(one for one in self.heads if not one.startswith(head)), head)
        self.literals = {text for text in self.literals if not text.startswith(head)}


def _best_head(texts: list[str]) -> str:
    """The longest beginning that a fifth of the texts or more have in common, so that few steps make much room.

    Beginnings end where an ARN's or a key's parts do; the empty one is common to all.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_heads(text))
    enough = max(2, len(texts) // 5)
    return max((head for head, count in counts.items() if count >= enough), key=lambda head: (len(head), head))


def _heads(text: str) -> list[str]:
    """The beginnings of a text that are shorter than it and end with a part's end, and the empty one."""
    return ["", *(text[: end.end()] for end in _ENDS.finditer(text, 0, len(text) - 1))]


def _escaped(text: str) -> str:
    if not text.startswith("arn:aws:s3:::") or "/" not in text:
        return text
    bucket, slash, key = text.partition("/")
    return bucket + slash + "".join("${" + char + "}" if char in "*?$" else char for char in key)
