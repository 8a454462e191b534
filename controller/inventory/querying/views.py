"""The stable views that an auditor's own questions (`assay query`) stand on: what the tables mean, by lasting names.

A view keeps its columns and their meaning; tables may change beneath it. They are no tables of a migration: `make`
makes all of them anew after the migrations, so that no migration has to know of them, and whoever may read them in
PostgreSQL may read them afterwards. docs/reference/views.md is generated from here.

Times are UTC: text as RFC 3339 in SQLite, `timestamptz` in PostgreSQL; both sort and compare with such text. Each row
has two, when it was true and `recorded_at`, when the inventory learnt it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, inspect, text

CREATED = "v_decisions"  # whoever may read this one may read all of them


@dataclass(frozen=True, slots=True)
class View:
    """One view: what a row is, its columns (name -> meaning and expression), and where they come from."""

    name: str
    about: str
    columns: tuple[tuple[str, str, str], ...]
    source: str

    @property
    def statement(self) -> str:
        """The SELECT, the same for both databases."""
        chosen = ", ".join(f"{expression} AS {name}" for name, _, expression in self.columns)
        return f"SELECT {chosen} FROM {self.source}"  # noqa: S608 - all of it is written in this file


_DIGEST = "sha256:… of the manifest, empty where it was never resolved"
_POLICY = (
    ("policy_kind", "ClusterEvidencePolicy or EvidencePolicy", "e.policy_kind"),
    ("policy_namespace", "namespace of an EvidencePolicy", "e.policy_namespace"),
    ("policy_name", "name of the policy", "e.policy_name"),
    ("policy_hash", "sha256:… of its spec: the version (`v_policies.hash`)", "e.policy_hash"),
)

VIEWS = (
    View(
        "v_decisions",
        "One decision of Assay about one object.",
        (
            ("id", "the record, as the denial names it", "d.id"),
            ("decided_at", "when it was decided", "d.decided_at"),
            ("recorded_at", "when it was recorded", "d.recorded_at"),
            ("cluster", "the cluster", "d.cluster"),
            ("verdict", "Allow or Deny", "d.verdict"),
            ("flags", 'how it came about, a JSON list: `["warn"]`', "d.flags"),
            ("reasons", "codes of all that did not hold, a JSON list", "d.reasons"),
            ("message", "what the user was told", "d.message"),
            ("operation", "CREATE or UPDATE", "d.operation"),
            ("kind", "kind of the object", "d.kind"),
            ("namespace", "namespace of the object", "d.namespace"),
            ("name", "name of the object", "d.name"),
            ("object_uid", "uid of the object (`v_runs.pod_uid`)", "d.object_uid"),
            ("service_account", "the pod's service account", "d.service_account"),
            ("username", "who asked the cluster for it", "d.username"),
            ("latency_us", "microseconds that it took", "d.latency_us"),
        ),
        "decision d",
    ),
    View(
        "v_images",
        "One image of one decision.",
        (
            ("decision", "the record (`v_decisions.id`)", "d.id"),
            ("position", "which of its images, from 0 (`v_evaluations.position`)", "i.position"),
            ("decided_at", "when it was decided", "i.decided_at"),
            ("recorded_at", "when it was recorded", "i.recorded_at"),
            ("cluster", "the cluster", "d.cluster"),
            ("namespace", "namespace of the object", "d.namespace"),
            ("verdict", "Allow or Deny, of the whole object", "d.verdict"),
            ("container_kind", "Container, InitContainer, EphemeralContainer or Volume", "i.kind"),
            ("container", "name of the container", "i.container"),
            ("reference", "what the user wrote", "i.reference"),
            ("repository", "registry/repository", "i.repository"),
            ("tag", "the tag, if there was one", "i.tag"),
            ("digest", _DIGEST, "i.digest"),
        ),
        "decision_image i JOIN decision d ON d.leaf = i.leaf AND d.decided_at = i.decided_at",
    ),
    View(
        "v_evaluations",
        "What one policy said of one image in one decision.",
        (
            ("decision", "the record (`v_decisions.id`)", "d.id"),
            ("position", "which of its images (`v_images.position`)", "e.image"),
            ("decided_at", "when it was decided", "e.decided_at"),
            ("recorded_at", "when it was recorded", "e.recorded_at"),
            ("cluster", "the cluster", "d.cluster"),
            ("namespace", "namespace of the object", "d.namespace"),
            ("digest", _DIGEST, "e.digest"),
            *_POLICY,
            ("actions", "what it does about it, a JSON list: Deny, Warn, Audit", "e.actions"),
            ("outcome", "Satisfied, Violated, Error or Exempt", "e.outcome"),
            ("error_kind", "Unavailable or Unacceptable, of an Error", "e.error_kind"),
            ("reasons", "all that did not hold, a JSON list of code and message", "e.reasons"),
        ),
        "evaluation e JOIN decision d ON d.leaf = e.leaf AND d.decided_at = e.decided_at",
    ),
    View(
        "v_policies",
        "One version of one policy, dated by the first decision that it was used in.",
        (
            ("kind", "ClusterEvidencePolicy or EvidencePolicy", "p.kind"),
            ("namespace", "namespace of an EvidencePolicy", "p.namespace"),
            ("name", "name of the policy", "p.name"),
            ("hash", "sha256:… of its spec, whose bytes are a blob", "p.hash"),
            ("decided_at", "first used", "p.decided_at"),
            ("recorded_at", "when that was recorded", "p.recorded_at"),
        ),
        "policy_version p",
    ),
    View(
        "v_resource_facts",
        "That a version of a policy or an exception was applied, or that it was deleted, as the operator saw it.",
        (
            ("id", "the record", "w.id"),
            ("decided_at", "when it was so (of a deletion: when it was seen)", "w.decided_at"),
            ("recorded_at", "when it was recorded", "w.recorded_at"),
            ("cluster", "the cluster", "w.cluster"),
            ("fact", "Applied or Deleted", "w.fact"),
            ("kind", "ClusterEvidencePolicy, EvidencePolicy or EvidenceException", "w.kind"),
            ("namespace", "namespace of an EvidencePolicy", "w.namespace"),
            ("name", "its name", "w.name"),
            ("uid", "its uid: one that is made anew has another", "w.uid"),
            ("life", "how often an object of this uid had been deleted before (a restored backup)", "w.life"),
            ("generation", "its generation; within a life a version follows on those of lower ones", "w.generation"),
            ("hash", "sha256:… of its spec, whose bytes are a blob; of a deletion that of the last version", "w.hash"),
            ("manager", "the program that wrote this spec (`managedFields`); empty where none is named", "w.manager"),
            ("problem", "why it does not take effect (a reason code), as the operator saw it then", "w.problem"),
            ("reason", "`GoneWhileUnwatched` of a deletion that was found later, else empty", "w.reason"),
        ),
        "resource_fact w",
    ),
    View(
        "v_exceptions",
        "One version of an exception that was applied, or used.",
        (
            ("cluster", "the cluster", "x.cluster"),
            ("name", "name of the EvidenceException", "x.name"),
            ("hash", "sha256:… of its spec", "x.hash"),
            ("approval", "`stamped` (Assay checked who approved it), or `claimed` by a file", "x.approval"),
            ("approver", "who approved it", "x.approver"),
            ("approved_at", "when", "x.approved_at"),
            ("reason", "why", "x.reason"),
            ("expires", "until when it holds", "x.expires"),
            ("break_glass", "whether it is one for emergencies", "x.break_glass"),
            ("decided_at", "when it was applied; first used, where nobody recorded that", "x.decided_at"),
            ("recorded_at", "when that was recorded", "x.recorded_at"),
        ),
        "exception x",
    ),
    View(
        "v_exception_uses",
        "One use of an exception: an image under a policy, in a decision.",
        (
            ("decision", "the record (`v_decisions.id`)", "d.id"),
            ("decided_at", "when it was used", "u.decided_at"),
            ("recorded_at", "when it was recorded", "u.recorded_at"),
            ("cluster", "the cluster", "u.cluster"),
            ("name", "name of the EvidenceException", "u.name"),
            ("hash", "sha256:… of its spec (`v_exceptions.hash`)", "u.hash"),
            ("approval", "`stamped` or `claimed`", "u.approval"),
        ),
        "exception_use u JOIN decision d ON d.leaf = u.leaf AND d.decided_at = u.decided_at",
    ),
    View(
        "v_evidence",
        "What was found about an image, once: a signature, an attestation, or what did not count (rejection).",
        (
            ("digest", "sha256:… of the image", "e.digest"),
            ("child", "sha256:… of the one manifest of an index that it is about, else NULL", "e.child"),
            ("finding", "signature, attestation or rejection", "e.finding"),
            *_POLICY,
            ("artifact", "sha256:… of the raw bytes, which are a blob", "e.artifact"),
            ("authority", "the policy's authority that it counts for", "e.authority"),
            ("signer_key", "fingerprint of the key", "e.signer_key"),
            ("signer_issuer", "issuer of the identity", "e.signer_issuer"),
            ("signer_subject", "the identity", "e.signer_subject"),
            ("predicate_type", "what is attested", "e.predicate_type"),
            ("code", "why it did not count (docs/reference/reasons.md)", "e.code"),
            ("decided_at", "first found", "e.decided_at"),
            ("recorded_at", "when that was recorded", "e.recorded_at"),
        ),
        "verification e",
    ),
    View(
        "v_claims",
        "What an image says of itself, bound by its digest and signed by nobody.",
        (
            ("digest", "sha256:… of the image", "q.digest"),
            ("child", "sha256:… of the one manifest of an index that it is about, else empty", "q.child"),
            ("kind", "`base` (the image that it was built on) or `os`", "q.kind"),
            ("value", "a name of the base image, by digest, name, or name and tag; or the system", "q.value"),
            ("source", "where it says so: annotation, label, or configuration", "q.source"),
            ("artifact", "sha256:… of the manifest, index or configuration that says it", "q.artifact"),
            ("policy_namespace", "of the EvidencePolicy whose rules read it, else empty", "q.policy_namespace"),
            ("decided_at", "first met", "q.decided_at"),
            ("recorded_at", "when that was recorded", "q.recorded_at"),
        ),
        "claim q",
    ),
    View(
        "v_runs",
        "One run of one container, as the kubelet told of it.",
        (
            ("cluster", "the cluster", "s.cluster"),
            ("namespace", "namespace of the pod", "s.namespace"),
            ("pod", "name of the pod", "s.pod"),
            ("pod_uid", "uid of the pod", "s.pod_uid"),
            ("node", "the node", "s.node"),
            ("owner", "the workload that it belongs to", "s.owner"),
            ("service_account", "its service account", "s.service_account"),
            ("container_kind", "container, initContainer or ephemeralContainer", "s.kind"),
            ("container", "name of the container", "s.container"),
            ("run", "the runtime's name of the run", "s.run"),
            ("reference", "what the user wrote", "s.reference"),
            ("image_id", "the image as the kubelet reports it", "s.image_id"),
            ("digest", "sha256:… of it, empty where the kubelet reports none", "s.digest"),
            ("started_at", "when it started", "s.started_at"),
            ("recorded_at", "when that was recorded", "s.recorded_at"),
            ("ended_at", "when it ended; empty while it runs", "s.ended_at"),
            ("end_recorded_at", "when that was recorded", "s.end_recorded_at"),
            ("reason", "why it ended", "s.reason"),
            ("admission", "Admitted, Drifted, Unadmitted or Unknown, as far as is known now", "s.admission"),
            ("admitted_at", "when a decision that admitted this very image was first recorded", "s.admitted_at"),
            ("signers", "the set of those who signed it (`v_signers.set_id`), empty if nobody did", "s.signers"),
        ),
        "run s",
    ),
    View(
        "v_signers",
        "Who is in a set of signers of an image, by key or subject.",
        (
            ("set_id", "the set (`v_runs.signers`)", "g.id"),
            ("signer", "fingerprint of a key, or the subject of an identity", "g.name"),
            ("decided_at", "first found", "g.decided_at"),
            ("recorded_at", "when that was recorded", "g.recorded_at"),
        ),
        "signer_member g",
    ),
    View(
        "v_reads",
        "That somebody was shown something of the inventory, where that is recorded (setting `log_reads`).",
        (
            ("id", "the record", "r.id"),
            ("decided_at", "when", "r.decided_at"),
            ("recorded_at", "when it was recorded", "r.recorded_at"),
            ("cluster", "the cluster whose Assay answered", "r.cluster"),
            ("username", "who", "r.username"),
            ("via", "REST or CLI", "r.via"),
            ("verb", "get, list or create (a question in SQL); a command's name for CLI", "r.verb"),
            ("resource", "what: decisions, images, blobs, …", "r.resource"),
            ("namespace", "of which namespace; empty: of all", "r.namespace"),
            ("identity", "of which digest or record", "r.identity"),
            ("parameters", "all that was asked with it, JSON: lists of texts by name", "r.parameters"),
            ("status", "HTTP status of the answer; 0 for CLI", "r.status"),
            ("count", "items of the answer, where they could be counted", "r.count"),
        ),
        "read r",
    ),
    View(
        "v_documents",
        "One attested document, as far as it was read. (Whether it was verified, and of which image: `v_evidence`.)",
        (
            ("artifact", "sha256:… of the raw bytes (`v_evidence.artifact`)", "m.artifact"),
            ("kind", "what it is: sbom, …", "m.kind"),
            ("predicate_type", "what is attested", "m.predicate_type"),
            ("problem", "why it cannot be read (a reason code); empty if it can", "m.problem"),
            ("format", "SPDX, CycloneDX, …", "m.format"),
            ("spec_version", "version of the format", "m.spec_version"),
            ("name", "what it calls itself", "m.name"),
            ("created_at", "when it says that it was made", "m.created_at"),
            ("tool", "by which tool", "m.tool"),
            ("author", "by whom", "m.author"),
            ("components", "how many components it lists", "m.components"),
            ("recorded_at", "when it was read into the index", "m.indexed_at"),
        ),
        "document m WHERE m.indexed_at IS NOT NULL",
    ),
    View(
        "v_components",
        "One component of one SBOM.",
        (
            ("artifact", "the document (`v_documents.artifact`)", "m.artifact"),
            ("type", "type of its purl: npm, deb, …; empty without one", "k.type"),
            ("package_namespace", "namespace of its purl", "k.namespace"),
            ("package", "name of its purl, else its name in lower case", "k.name"),
            ("name", "its name, as the document has it", "c.name"),
            ("version", "its version", "c.version"),
            ("purl", "its purl", "c.purl"),
            ("licenses", "its licences", "c.licenses"),
            ("supplier", "its supplier", "c.supplier"),
            ("cpe", "its CPE", "c.cpe"),
        ),
        "sbom_component l JOIN document m ON m.id = l.document AND m.indexed_at IS NOT NULL"
        " JOIN component c ON c.id = l.component JOIN package k ON k.id = c.package",
    ),
    View(
        "v_findings",
        "One vulnerability in one package, as one scanner's report has it. An image may have several, and VEX may"
        " clear what they say: `assay inventory findings` weighs both.",
        (
            ("artifact", "the report (`v_documents.artifact`)", "m.artifact"),
            ("vulnerability", "its identifier, as the report has it", "f.vulnerability"),
            ("aliases", "its other identifiers, a JSON list", "f.aliases"),
            ("rank", "the severity's place, to sort by: 0 is the worst", "f.rank"),
            ("severity", "CRITICAL, HIGH, MEDIUM, LOW, NEGLIGIBLE or UNKNOWN", "f.severity"),
            ("score", "CVSS score, where the report has one", "f.score"),
            ("package", "name of the package", "f.package"),
            ("version", "its version", "f.version"),
            ("purl", "its purl", "f.purl"),
            ("fixable", "whether there is a version with a fix; empty where the report cannot tell", "f.fixable"),
            ("fixed_versions", "versions with a fix, a JSON list", "f.fixed_versions"),
            ("scanner", "by which scanner", "m.tool"),
            ("reported_at", "when the report says that it was made", "m.created_at"),
            ("recorded_at", "when it was read into the index", "m.indexed_at"),
        ),
        "vulnerability_finding f JOIN document m ON m.id = f.document AND m.indexed_at IS NOT NULL",
    ),
)
NAMES = frozenset(view.name for view in VIEWS)


def readers(connection: Connection) -> tuple[str, ...]:
    """The roles of PostgreSQL that were given the views, to be given them again."""
    if connection.dialect.name != "postgresql":
        return ()
    query = text(
        "SELECT grantee FROM information_schema.role_table_grants WHERE table_schema = current_schema()"
        " AND table_name = :view AND privilege_type = 'SELECT' AND grantee <> current_user"
    )
    return tuple(sorted(connection.execute(query, {"view": CREATED}).scalars()))


def drop(connection: Connection) -> None:
    """Drop every view whose name begins as ours do: before migrations, which may change what they stand on."""
    for name in inspect(connection).get_view_names():
        if name.startswith("v_"):
            connection.exec_driver_sql(f"DROP VIEW {connection.dialect.identifier_preparer.quote(name)}")


def make(connection: Connection, granted: Iterable[str] = ()) -> None:
    """Make all views, and let these roles read them."""
    for view in VIEWS:
        connection.exec_driver_sql(f"CREATE VIEW {view.name} AS {view.statement}")
        for role in granted:
            quoted = "PUBLIC" if role == "PUBLIC" else connection.dialect.identifier_preparer.quote_identifier(role)
            connection.exec_driver_sql(f"GRANT SELECT ON {view.name} TO {quoted}")
