"""The page docs/reference/resources.md: every field, default, bound and rule of the CRDs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def page() -> str:
    """Every field of Assay's own resources, from the CRDs."""
    lines = [
        "# Resources\n",
        "`assay.dev/v1alpha1`, as `kubectl explain` has it, with every default and bound. A field in **bold** is required",
        "where what it stands in is given. An EvidencePolicy has the spec of a ClusterEvidencePolicy. Rules are checked by",
        "the API server itself; what it cannot check, `assay policy lint` and `/validate-policy` do",
        "([check-policies.md](../how-to/check-policies.md)).\n",
    ]
    specs: dict[str, str] = {}
    for file in sorted((ROOT / "charts" / "assay" / "crds").iterdir()):
        definition = yaml.safe_load(file.read_text())["spec"]
        names, version = definition["names"], definition["versions"][0]
        schema = version["schema"]["openAPIV3Schema"]
        columns = ", ".join(column["name"] for column in version["additionalPrinterColumns"])
        lines.append(f"## {names['kind']}\n")
        lines.append(
            f"{schema['description']} {definition['scope']}; short name `{names['shortNames'][0]}`; `kubectl get` shows {columns}.\n"
        )
        for part in ("spec", "status"):
            rows = list(_fields(schema["properties"][part], part))
            table = "\n".join(["| field | type | default | bounds | |", "| --- | --- | --- | --- | --- |", *rows])
            same = next((kind for kind, text in specs.items() if text == table), None)
            if same is not None:
                lines.append(f"Its `{part}` is that of {same}.\n")
                continue
            specs[names["kind"]] = table
            lines += [table, ""]
        rules = [f"- `{path or 'the object'}`: {message}" for path, message in _rules(schema, "")]
        lines += ["Rules:\n", *rules, ""] if rules else []
    return "\n".join(lines)


def _fields(schema: dict[str, Any], path: str) -> Iterator[str]:
    """A row for each field below an object."""
    for name, field in schema.get("properties", {}).items():
        at = f"{path}.{name}"
        shown = f"**`{at}`**" if name in schema.get("required", ()) else f"`{at}`"
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        text = field["description"].replace("|", "\\|")
        yield f"| {shown} | {_type(field)} | {default} | {_bounds(field)} | {text} |"
        items = field.get("items", field)
        yield from _fields(items, f"{at}[]" if "items" in field else at)


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{word}`" for word in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return "map of string"
    return str(field.get("format", field["type"]))


def _bounds(field: dict[str, Any]) -> str:
    words = {
        "minLength": "at least {} long",
        "maxLength": "at most {} long",
        "minItems": "at least {}",
        "maxItems": "at most {}",
        "maxProperties": "at most {}",
        "minimum": "from {}",
        "maximum": "to {}",
    }
    parts = [text.format(field[name]) for name, text in words.items() if name in field]
    if "pattern" in field:
        parts.append("`" + field["pattern"].replace("|", "\\|") + "`")
    return ", ".join(parts)


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"{path}{rule.get('fieldPath', '')}".lstrip("."), rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
