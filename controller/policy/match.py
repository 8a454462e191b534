"""Which images and objects a policy is about: image patterns and label selectors. Pure and linear in its input.

A pattern is matched against `registry/repository` of the *normal form* of a reference, never against what was typed, so
that `nginx`, `docker.io/nginx` and `index.docker.io/library/nginx` are one image to a policy. `*` stands for any
characters of one path component, `**` for any characters at all, `!` in front excludes and always wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.errors import PolicyError
from controller.model.policy import LabelRequirement, LabelSelector
from controller.model.reference import DOCKER_HUB, Reference, is_host, normal_host
from controller.policy.regex import Pattern, compile_pattern

MAX_PATTERN_LENGTH = 512  # bounds one image pattern; a name has at most 255 characters

Anchor = tuple[int, str]
"""A place among the components of a name, and the text that begins there; in place 0 it may be several components."""

ANYWHERE: Anchor = (0, "")

_ALLOWED = re.compile(r"[a-z0-9._:/*\[\]-]+")


@dataclass(frozen=True, slots=True)
class ImagePattern:
    """One entry of `match.images` in normal form. `excludes` says that it was written with `!`."""

    text: str
    excludes: bool

    @classmethod
    def parse(cls, written: str) -> ImagePattern:
        """Normalise a pattern as references are: host lower-cased, port 443 dropped, Docker Hub's names made one.

        Raises `PolicyError` (`ImagePatternMalformed`) for a pattern that could never match, naming the fix.
        """
        excludes = written.startswith("!")
        text = written.removeprefix("!")
        bang = "!" if excludes else ""
        if not text or len(text) > MAX_PATTERN_LENGTH:
            raise _malformed(f"{_shown(written)} has {len(text)} characters; 1 to {MAX_PATTERN_LENGTH} are allowed")
        first, slash, rest = text.partition("/")
        if "@" in text or ":" in (rest if slash else ""):
            raise _malformed(f"{_shown(written)} names a tag or digest; patterns see registry/repository only")
        if not slash and "**" not in first:
            fix = "**" if first == "*" else f"{first}/**" if _is_host(first) else f"docker.io/library/{first}"
            raise _malformed(f"{_shown(written)} matches no image, since it has no repository; write {fix!r}")
        if not (first.startswith("*") or _is_host(first)):
            raise _malformed(f"{_shown(written)} does not start with a registry host; write 'docker.io/{text}'")
        if slash and not all(rest.split("/")):
            parts = [first, *filter(None, rest.split("/"))]
            if text.endswith("/") and parts[-1] != "**":
                parts.append("**")
            fix = bang + "/".join(parts)
            raise _malformed(f"{_shown(written)} matches no image, since none has an empty part; write {fix!r}")
        normal = _normal_form(first.lower(), slash, rest)
        if not _ALLOWED.fullmatch(normal):
            raise _malformed(
                f"{_shown(written)} has characters that no image name has; allowed are a-z, 0-9 and . _ - / : *"
            )
        return cls(text=normal, excludes=excludes)

    @property
    def prefix(self) -> str:
        """The leading whole components without a wildcard (`ghcr.io/acme` of `ghcr.io/acme/**`); empty if none."""
        literal: list[str] = []
        for component in self.text.split("/"):
            if "*" in component:
                break
            literal.append(component)
        return "/".join(literal)

    @property
    def anchor(self) -> Anchor:
        """Where every name that matches has which text: the prefix, or else one whole component further on.

        `*` stands for no slash, so a component before the first `**` has its place in every such name:
        of `*/acme/**` it is `acme` in place 1.
        """
        prefix = self.prefix
        if prefix:
            return (0, prefix)
        for place, component in enumerate(self.text.split("/")):
            if "**" in component:
                break
            if "*" not in component:
                return (place, component)
        return ANYWHERE

    @property
    def names_host(self) -> bool:
        """Whether the registry host is spelt out, without a wildcard."""
        return bool(self.prefix)

    def expression(self) -> str:
        """The pattern as an RE2 expression."""
        parts = re.split(r"(\*\*+|\*)", self.text)
        return "".join(".*" if p.startswith("**") else "[^/]*" if p == "*" else re.escape(p) for p in parts)


class ImageMatcher:
    """All patterns of one policy, compiled. No including pattern means all images that are not excluded."""

    __slots__ = ("_excluding", "_including", "patterns")

    def __init__(self, patterns: Iterable[ImagePattern]) -> None:
        self.patterns = tuple(patterns)
        self._including = _compiled(p for p in self.patterns if not p.excludes)
        self._excluding = _compiled(p for p in self.patterns if p.excludes)

    def matches(self, reference: Reference) -> bool:
        """Whether the policy is about this image."""
        return self.matches_name(reference.name)

    def matches_name(self, name: str) -> bool:
        """Whether the policy is about images of this `registry/repository`."""
        if any(pattern.fullmatch(name) for pattern in self._excluding):
            return False
        return not self._including or any(pattern.fullmatch(name) for pattern in self._including)

    def matching(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The patterns, as written in normal form, that exclude and that include images of this name."""
        excluding = [f"!{p.text}" for p, c in self._both(self._excluding, excludes=True) if c.fullmatch(name)]
        including = [p.text for p, c in self._both(self._including, excludes=False) if c.fullmatch(name)]
        return tuple(excluding), tuple(including)

    def _both(self, compiled: tuple[Pattern, ...], *, excludes: bool) -> Iterable[tuple[ImagePattern, Pattern]]:
        return zip((p for p in self.patterns if p.excludes is excludes), compiled, strict=True)

    @property
    def anchors(self) -> frozenset[Anchor]:
        """Under what an index has to file this, so that whoever looks for each of `anchors_of` a name finds it."""
        including = [p for p in self.patterns if not p.excludes]
        return frozenset(p.anchor for p in including) if including else frozenset({ANYWHERE})


def anchors_of(name: str) -> Iterator[Anchor]:
    """Every anchor that a pattern that matches this `registry/repository` may have; as many as twice its components."""
    yield ANYWHERE
    components = name.split("/")
    for place, component in enumerate(components):
        yield (0, "/".join(components[: place + 1]))
        if place:
            yield (place, component)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a label selector holds, as Kubernetes defines it (apimachinery `labels.Requirement.Matches`).

    `NotIn` and `DoesNotExist` hold for a label that is absent; an empty selector holds for everything.
    """
    return all(labels.get(key) == value for key, value in selector.match_labels) and all(
        _requirement_holds(requirement, labels) for requirement in selector.match_expressions
    )


def _requirement_holds(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    present = requirement.key in labels
    match requirement.operator:
        case "In":
            return present and labels[requirement.key] in requirement.values
        case "NotIn":
            return not present or labels[requirement.key] not in requirement.values
        case "Exists":
            return present
        case "DoesNotExist":
            return not present
    raise PolicyError("SelectorMalformed", f"{requirement.operator!r} is no operator of a label selector")


def _normal_form(host: str, slash: str, rest: str) -> str:
    host = normal_host(host)
    if host == DOCKER_HUB and "/" not in rest and "**" not in rest:
        rest = f"library/{rest}"
    return host + slash + rest


def _is_host(component: str) -> bool:
    return is_host(component.lower())


def _compiled(patterns: Iterable[ImagePattern]) -> tuple[Pattern, ...]:
    return tuple(compile_pattern(pattern.expression()) for pattern in patterns)


def _malformed(message: str) -> PolicyError:
    return PolicyError("ImagePatternMalformed", f"the image pattern {message}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:100] + "…")
