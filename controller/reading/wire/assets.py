"""The asset list as FedRAMP's Integrated Inventory Workbook has it: its columns, under its own headings.

The headings are those of the workbook (Appendix M of the System Security Plan, Rev. 5). A cell about something that
Assay does not know is empty: "Optional fields should be left blank indicating no data".
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from controller.inventory.asking.cursors import MAX_CURSOR
from controller.inventory.asking.documents import assets as inventory
from controller.inventory.asking.documents.assets import MAX_NAMED
from controller.inventory.recording.claims import ANNOTATION, CONFIGURATION, LABEL
from controller.reading.wire.base import InNamespace, MomentAsked, Paged, Text

ASSET_TYPE = "Container image"
CLAIMED = frozenset({ANNOTATION, LABEL, CONFIGURATION})


class AssetsAsked(Paged, InNamespace):
    """Filters and paging of the asset list."""

    cluster: Text | None = Field(None, description="Only of this cluster.")
    as_of: MomentAsked | None = Field(None, description="What ran then; default: now.")
    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="The last page's cursor.")


def _column(heading: str) -> Any:
    return Field("", serialization_alias=heading)


class Asset(BaseModel):
    """One row of the workbook: an image that runs, by repository and digest."""

    model_config = ConfigDict(frozen=True)

    identifier: str = Field(serialization_alias="UNIQUE ASSET IDENTIFIER")
    address: str = _column("IPv4 or IPv6 Address")
    virtual: str = _column("Virtual")
    public: str = _column("Public")
    url: str = _column("DNS Name or URL")
    netbios: str = _column("NetBIOS Name")
    mac: str = _column("MAC Address")
    authenticated_scan: str = _column("Authenticated Scan")
    baseline: str = _column("Baseline Configuration Name")
    system: str = _column("OS Name and Version")
    location: str = _column("Location")
    asset_type: str = _column("Asset Type")
    hardware: str = _column("Hardware Make/Model")
    in_latest_scan: str = _column("In Latest Scan")
    vendor: str = _column("Software/ Database Vendor")
    software: str = _column("Software/ Database Name & Version")
    patch_level: str = _column("Patch Level")
    diagram_label: str = _column("Diagram Label")
    comments: str = _column("Comments")
    serial: str = _column("Serial #/Asset Tag#")
    network: str = _column("VLAN/ Network ID")
    system_owner: str = _column("System Administrator/ Owner")
    application_owner: str = _column("Application Administrator/ Owner")
    function: str = _column("Function")
    end_of_life: str = _column("End-of-Life")

    @classmethod
    def of(cls, asset: inventory.Asset) -> Self:
        """The row of an asset."""
        return cls(
            identifier=asset.identifier,
            virtual="Yes",
            baseline=asset.base,
            system=asset.system,
            location=_some(asset.clusters),
            asset_type=ASSET_TYPE,
            in_latest_scan="Yes" if asset.in_latest_scan else "No",
            software=_some(asset.references),
            comments=_comments(asset),
            application_owner=_some(
                tuple(dict.fromkeys(f"{one.namespace}/{one.owner}" for one in asset.workloads if one.owner))
            ),
        )


class AssetPage(BaseModel):
    """Assets, by identifier."""

    items: list[Asset]
    cursor: str | None

    @classmethod
    def of(cls, page: inventory.AssetPage) -> Self:
        """A page of rows."""
        return cls(items=[Asset.of(asset) for asset in page.items], cursor=page.cursor)


def _comments(asset: inventory.Asset) -> str:
    """How often it runs and where, the scan by which it counts as scanned, and what only the image itself says."""
    by_namespace: dict[str, int] = {}
    for one in asset.workloads:
        by_namespace[one.namespace] = by_namespace.get(one.namespace, 0) + one.containers
    where = _some(tuple(f"{namespace} {count}" for namespace, count in sorted(by_namespace.items())))
    scan = "no verified scan"
    if asset.scanned_at is not None:
        by = f" by {asset.scanner}" if asset.scanner else ""
        scan = f"last verified scan {asset.scanned_at:%Y-%m-%d}{by}"
    noun = "container" if asset.containers == 1 else "containers"
    claimed = "".join(
        f"; {what} by the image's own {source}, which nobody signed"
        for what, source in (("base image", asset.base_source), ("OS", asset.system_source))
        if source in CLAIMED
    )
    return f"{asset.containers} {noun}, by namespace: {where}; {scan}{claimed}"


def _some(names: tuple[str, ...]) -> str:
    """Names in one cell, however many there are."""
    shown = ", ".join(names[:MAX_NAMED])
    return f"{shown} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else shown
