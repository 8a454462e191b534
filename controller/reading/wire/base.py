"""What all questions and answers share: times, texts, names in camelCase, and the two times of every question."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from controller.inventory.asking.asker import DEFAULT_LIMIT, MAX_LIMIT
from controller.inventory.asking.cursors import MAX_CURSOR

MAX_TEXT = 1024  # characters of one filter

Moment = Annotated[datetime, PlainSerializer(lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))]
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=r"^[^\x00-\x1f\x7f]*$")]
MomentAsked = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class BaseAsked(BaseModel):
    """Parameters of any question. Unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    known_at: MomentAsked | None = Field(None, description="From what had been recorded by then; default: now.")


class Asked(BaseAsked):
    """Parameters of a question about one thing."""

    as_of: MomentAsked | None = Field(None, description="What was true then; default: now.")


class Paged(BaseAsked):
    """Parameters of any list: one page in JSON, or all of it in another format (`reading.whole`)."""

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Items on one page.")
    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="The last page's cursor.")
    format: Literal["json", "csv", "jsonl", "ndjson"] | None = Field(
        None, description="A page in json, or the whole list; default: by Accept."
    )


class InNamespace(BaseAsked):
    """Parameters of a question that may be about one namespace."""

    namespace: Text | None = Field(None, description="As far as this namespace is concerned; default: all of them.")


class Shown(BaseModel):
    """What an answer is made of."""

    model_config = ConfigDict(from_attributes=True, alias_generator=to_camel, populate_by_name=True)
