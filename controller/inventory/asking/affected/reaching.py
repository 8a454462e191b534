"""How far it reaches that something turned out bad: the images that rest on it, and for whose runs that counts.

For a run, and for a decision, counts what the cluster's policies found, and what the policies of its own namespace did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, reduce

from sqlalchemy import Connection

from controller.inventory.asking import kinship
from controller.inventory.asking.affected.resting import (
    EVERYWHERE,
    IN_ORDER,
    Footing,
    Grounds,
    Resting,
    Said,
    Source,
    Told,
    earliest,
    resting,
)

APART = 4  # namespaces in which alone something counts that are gone through each by itself


@dataclass(frozen=True)
class Reach:
    """What rests on it: the images that were `proven`, and by whose policies; and every digest by which these may be
    named (`names`).

    A kubelet may name an index or a manifest in it (`kinship`). Of each name it is told on what rests what is so called
    in a namespace, where the policies of that found something of their own, and in all others (`EVERYWHERE`).
    """

    proven: Mapping[str, Grounds]
    names: Mapping[str, Grounds]

    def image(self, digest: str) -> Resting:
        """All that is said of a proven image, and of each word for whose runs alone it counts."""
        return _of_image(self.proven[digest])

    def of(self, digest: str | None, namespace: str) -> Said | None:
        """On what rests what is named by this digest in a namespace; None: not on that which turned out bad."""
        grounds = self.names.get(digest or "")
        return None if grounds is None else grounds.get(namespace) or grounds.get(EVERYWHERE)

    def since(self, digest: str) -> datetime:
        """Since when what has this name was known to rest on it anywhere."""
        return min(one.since for one in self.names[digest].values())

    @cached_property
    def everywhere(self) -> Reach:
        """What rests on it in whatever namespace."""
        return self._narrowed(lambda grounds: grounds.get(EVERYWHERE))

    @cached_property
    def more(self) -> Mapping[str, Reach]:
        """What rests on it in some namespace and not everywhere, or from earlier on there: by namespace."""
        found: dict[str, dict[str, Grounds]] = defaultdict(dict)
        for name, namespace, one in self._more():
            found[namespace][name] = {EVERYWHERE: one}
        return {namespace: Reach(self.proven, names) for namespace, names in sorted(found.items())}

    def within(self, namespace: str) -> Reach:
        """What rests on it in this namespace."""
        return self._narrowed(lambda grounds: grounds.get(namespace) or grounds.get(EVERYWHERE))

    @cached_property
    def is_alike(self) -> bool:
        """Whether what has one of these names rests on it in every namespace, and by the same words."""
        return all(len(grounds) == 1 and EVERYWHERE in grounds for grounds in self.names.values())

    @cached_property
    def is_confined(self) -> bool:
        """Whether nothing rests on it but in a few namespaces, so that each can be asked by itself."""
        return not self.is_alike and not self.everywhere.names and len(self.more) <= APART

    def _more(self) -> Iterator[tuple[str, str, Said]]:
        for name, grounds in self.names.items():
            before = grounds.get(EVERYWHERE)
            for namespace, one in grounds.items():
                if namespace != EVERYWHERE and (before is None or one.since < before.since):
                    yield name, namespace, one

    def _narrowed(self, choose: Callable[[Grounds], Said | None]) -> Reach:
        if self.is_alike:
            return self
        chosen = ((name, choose(grounds)) for name, grounds in self.names.items())
        return Reach(self.proven, {name: {EVERYWHERE: one} for name, one in chosen if one is not None})


def reach(
    connection: Connection, footing: Footing, value: str, *, known_at: datetime | None, namespace: str | None
) -> Reach:
    """As was known, and in a namespace as that may know it. Raises as `resting` does."""
    found = resting(connection, footing, value, known_at=known_at, namespace=namespace)
    runs = kinship.of_runs(connection, found, known_at)
    proven: dict[str, Grounds] = {}
    names: dict[str, Grounds] = {}
    for judged, grounds in found.items():
        digest, child = judged
        _add(proven, child or digest, grounds)
        for name in runs[judged]:
            _add(names, name, grounds)
    return Reach(proven, {name: _of_runs(grounds) for name, grounds in names.items()})


def _add(found: dict[str, Grounds], name: str, grounds: Grounds) -> None:
    """To what is already said of it. Most is said once: nothing is made for it."""
    before = found.setdefault(name, grounds)
    if before is not grounds:
        both = {whose: before[whose].joined(one) if whose in before else one for whose, one in grounds.items()}
        found[name] = before | both


def _of_runs(grounds: Grounds) -> Grounds:
    """In a namespace counts what the cluster's policies found as well. What adds nothing to that is left out."""
    everywhere = grounds.get(EVERYWHERE)
    if everywhere is None or len(grounds) == 1:
        return grounds
    within = {namespace: everywhere.joined(one) for namespace, one in grounds.items() if namespace != EVERYWHERE}
    return {
        EVERYWHERE: everywhere,
        **{namespace: one for namespace, one in within.items() if one.words != everywhere.words},
    }


def _of_image(grounds: Grounds) -> Resting:
    said = reduce(Said.joined, grounds.values())
    since, recorded_at = reduce(earliest, said.words.values())
    sources = (_told(source, grounds) for source in IN_ORDER if source.value in said.words)
    return Resting(said.digest, tuple(sorted(said.artifacts)), since, recorded_at, tuple(sources))


def _told(source: Source, grounds: Grounds) -> Told:
    words = {whose: one.words[source.value] for whose, one in sorted(grounds.items()) if source.value in one.words}
    if EVERYWHERE in words:
        return Told(source, *words[EVERYWHERE])
    return Told(source, *reduce(earliest, words.values()), only_in=tuple(words))
