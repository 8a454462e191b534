"""Whether static types fit: arguments to parameters, and two values to each other (cel-spec, "Type checking")."""

from __future__ import annotations

from controller.policy.cel.schema import DYN, STRING, Type, list_of, map_of

Bound = dict[str, Type]

_NEVER_NULL = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type"})


def matches(declared: Type, actual: Type, bound: Bound) -> bool:
    """Whether a value of type `actual` may stand where `declared` is wanted; open types are bound on the way."""
    if declared.kind == "parameter":
        known = bound.get(declared.alias)
        joined = actual if known is None else join(known, actual)
        if joined is None:
            return False
        bound[declared.alias] = joined
        return True
    if declared.is_open or actual.is_open or actual.kind == "nothing":
        return True
    if declared.kind == "list":
        return actual.is_list and matches(_element(declared), _element(actual), bound)
    if declared.kind == "optional_type":
        return actual.kind == "optional_type" and matches(_element(declared), _element(actual), bound)
    if declared.kind == "map":
        return (
            actual.is_map
            and matches(_key(declared), _key(actual), bound)
            and (matches(_element(declared), _element(actual), bound))
        )
    if actual.kind == "null_type" and declared.kind not in _NEVER_NULL:
        return True
    if declared.kind == "object":
        return actual.kind == "map" or actual == declared
    return declared.kind == actual.kind


def join(one: Type, other: Type) -> Type | None:
    """The type that both values have, or None if they have none in common."""
    if one is other or one.is_open or other.kind == "nothing":
        return one
    if other.is_open or one.kind == "nothing":
        return other
    if one.is_list and other.is_list:
        element = join(_element(one), _element(other))
        return None if element is None else list_of(element)
    if one.is_map and other.is_map:
        return _join_maps(one, other)
    for null, value in ((one, other), (other, one)):
        if null.kind == "null_type" and value.kind not in _NEVER_NULL:
            return value
    return one if one.kind == other.kind else None


def _join_maps(one: Type, other: Type) -> Type | None:
    if one.kind == "object" and other.kind == "object":
        return one if one == other else None
    key, element = join(_key(one), _key(other)), join(_element(one), _element(other))
    return None if key is None or element is None else map_of(element, key)


def resolved(result: Type, bound: Bound) -> Type:
    """The type of a call's result, with what its arguments said about the open types."""
    if result.kind == "parameter":
        return bound.get(result.alias, DYN)
    if result.kind == "list" and result.element is not None:
        return list_of(resolved(result.element, bound))
    if result.kind == "optional_type" and result.element is not None:
        element = resolved(result.element, bound)
        return Type("optional_type", element=element, alias=f"optional({element.name})")
    if result.kind == "map" and result.element is not None:
        return map_of(resolved(result.element, bound), resolved(_key(result), bound))
    return result


def _element(of: Type) -> Type:
    return of.element or DYN


def _key(of: Type) -> Type:
    if of.kind == "object" or of.base == "map":
        return STRING
    return of.key or DYN
