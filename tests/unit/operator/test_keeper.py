"""Objects by events and lists in any order; statuses that say what became of each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controller.model.policy import TrustRoot
from controller.operator.keeper import Keeper, make_picture
from controller.operator.resources import CLUSTER_POLICIES, EXCEPTIONS, POLICIES, TRUST_ROOTS
from controller.policy.references import CONFIG_MAP, NOTHING, SECRET, Materials, ObjectRef
from tests.support.exceptions import exception
from tests.unit.policy.make import pem

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOCUMENT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


def _policy(name: str = "p", *, version: int = 1, generation: int = 1, uid: str = "u", **spec: Any) -> dict[str, Any]:
    keyless = {"identities": [{"issuer": "https://issuer.example", "subject": "me"}]}
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "ClusterEvidencePolicy",
        "metadata": {"name": name, "uid": uid, "resourceVersion": str(version), "generation": generation},
        "spec": {
            "authorities": [{"name": "a", "keyless": keyless}],
            "signatures": {"authorities": ["a"]},
            **spec,
        },
    }


def _trust_root(name: str = "public-good", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, "resourceVersion": "1", "generation": 1}
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": metadata,
        "spec": spec or {"trustedRoot": DOCUMENT},
    }


def _conditions(
    keeper: Keeper, given: dict[str, TrustRoot] | None = None, materials: Materials = NOTHING
) -> dict[str, dict[str, tuple[str, str, str]]]:
    picture = make_picture(
        keeper.objects(CLUSTER_POLICIES, POLICIES),
        keeper.objects(TRUST_ROOTS),
        keeper.objects(EXCEPTIONS),
        given=given or {},
        previous=None,
        materials=materials,
    )
    return {
        "/".join(part for part in write.key if part): {
            condition["type"]: (condition["status"], condition["reason"], condition["message"])
            for condition in write.patch["status"]["conditions"]
        }
        for write in keeper.status_writes(picture, now=NOW)
    }


def test_a_change_of_status_alone_asks_for_no_new_picture() -> None:
    keeper = Keeper()
    assert keeper.put(CLUSTER_POLICIES, _policy())
    assert not keeper.put(CLUSTER_POLICIES, {**_policy(version=2), "status": {"hash": "x"}})
    assert keeper.put(CLUSTER_POLICIES, _policy(version=3, generation=2, digest="Require"))


def test_a_late_event_of_an_older_version_changes_nothing() -> None:
    keeper = Keeper()
    newer = _policy(version=10, generation=2, digest="Require")
    keeper.put(CLUSTER_POLICIES, newer)
    assert not keeper.put(CLUSTER_POLICIES, _policy(version=9))
    assert keeper.objects(CLUSTER_POLICIES) == (newer,)


def test_an_object_created_anew_under_the_name_is_taken_whatever_its_version() -> None:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, _policy(version=10))
    assert keeper.put(CLUSTER_POLICIES, _policy(version=9, uid="another"))


def test_what_a_list_lacks_is_gone_but_not_what_came_while_it_was_under_way() -> None:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, _policy("gone"))
    keeper.begin_list(CLUSTER_POLICIES)
    keeper.put(CLUSTER_POLICIES, _policy("came"))
    assert keeper.missing(CLUSTER_POLICIES, []) == {("ClusterEvidencePolicy", "", "gone")}
    assert keeper.replace(CLUSTER_POLICIES, [])
    assert [obj["metadata"]["name"] for obj in keeper.objects(CLUSTER_POLICIES)] == ["came"]


def test_a_list_does_not_bring_back_the_version_that_an_event_has_replaced_meanwhile() -> None:
    keeper = Keeper()
    old, new = _policy(version=1), _policy(version=2, generation=2, digest="Require")
    keeper.put(CLUSTER_POLICIES, old)
    keeper.begin_list(CLUSTER_POLICIES)
    keeper.put(CLUSTER_POLICIES, new)
    assert not keeper.replace(CLUSTER_POLICIES, [old])
    assert keeper.objects(CLUSTER_POLICIES) == (new,)


def test_a_policy_in_force_says_so() -> None:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, _policy())
    keeper.put(TRUST_ROOTS, _trust_root())
    assert _conditions(keeper) == {
        "ClusterEvidencePolicy/p": {
            "Accepted": ("True", "Valid", "Every field is understood."),
            "Compiled": ("True", "Compiled", "Every expression compiles."),
            "Ready": ("True", "InForce", "In force as written."),
        },
        "TrustRoot/public-good": {
            "Accepted": ("True", "Valid", "Every field is understood."),
            "Ready": ("True", "InForce", "Certificates and logs are checked against it."),
        },
    }


def test_a_policy_whose_trust_root_is_not_there_is_not_ready_and_says_what_to_create() -> None:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, _policy())
    status, reason, message = _conditions(keeper)["ClusterEvidencePolicy/p"]["Ready"]
    assert (status, reason) == ("False", "TrustRootMissing")
    assert "TrustRoot public-good" in message


def test_a_broken_policy_names_field_and_reason_and_that_it_stays_in_force() -> None:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, _policy(authorities=[{"name": "a", "kms": {"uri": "awskms:///alias/release"}}]))
    conditions = _conditions(keeper)["ClusterEvidencePolicy/p"]
    assert conditions["Accepted"][:2] == ("False", "NotSupportedYet")
    assert conditions["Accepted"][2].startswith("spec.authorities[0].kms: ")
    assert conditions["Compiled"][0] == "Unknown"
    assert conditions["Ready"][0] == "False"
    assert "stays in force" in conditions["Ready"][2]


def test_an_expression_that_does_not_compile_is_accepted_and_not_compiled() -> None:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, _policy(validations=[{"expression": "nothing.like.it"}]))
    conditions = _conditions(keeper)["ClusterEvidencePolicy/p"]
    assert conditions["Accepted"][0] == "True"
    assert conditions["Compiled"][0] == "False"
    assert "spec.validations[0].expression" in conditions["Compiled"][2]
    assert conditions["Ready"][0] == "False"


def test_a_trust_root_that_the_setting_has_too_says_which_one_wins() -> None:
    keeper = Keeper()
    keeper.put(TRUST_ROOTS, _trust_root())
    given = {"public-good": TrustRoot("public-good", b"{}", "sha256:0")}
    status, reason, _ = _conditions(keeper, given)["TrustRoot/public-good"]["Ready"]
    assert (status, reason) == ("False", "TrustRootShadowed")


def test_exceptions_are_in_the_picture_and_say_in_their_status_what_became_of_them() -> None:
    keeper = Keeper()
    times = {"approvedAt": "2026-01-02T03:00:00Z", "expires": "2026-01-20T00:00:00Z"}
    assert keeper.put(EXCEPTIONS, exception("good", metadata={"uid": "e"}, policies=[{"name": "p"}], **times))
    keeper.put(EXCEPTIONS, exception("broken", metadata={"uid": "f"}, reason=None, **times))
    keeper.put(CLUSTER_POLICIES, _policy())
    conditions = _conditions(keeper)
    assert conditions["EvidenceException/good"]["Accepted"][:2] == ("True", "Valid")
    assert conditions["EvidenceException/good"]["Ready"][:2] == ("True", "InForce")
    assert conditions["EvidenceException/broken"]["Accepted"][:2] == ("False", "FieldMissing")
    assert conditions["EvidenceException/broken"]["Ready"][:2] == ("False", "FieldMissing")


def test_a_key_whose_secret_is_missing_leaves_the_policy_accepted_and_not_ready() -> None:
    keeper = Keeper()
    key = {"secretRef": {"name": "release", "key": "cosign.pub"}}
    keeper.put(CLUSTER_POLICIES, _policy(authorities=[{"name": "a", "key": key, "transparencyLog": "Ignore"}]))
    conditions = _conditions(keeper, materials=Materials("assay-system"))["ClusterEvidencePolicy/p"]
    assert conditions["Accepted"][:2] == ("True", "Valid")
    assert conditions["Compiled"][:2] == ("True", "Compiled")
    status, reason, message = conditions["Ready"]
    assert (status, reason) == ("False", "ReferenceMissing")
    assert message.startswith("spec.authorities[0].key.secretRef: there is no Secret assay-system/release;")
    release = ObjectRef(SECRET, "assay-system", "release")
    assert keeper.references(namespace="assay-system") == {release: {"cosign.pub"}}
    there = Materials("assay-system", {release: {"cosign.pub": pem().encode()}})
    assert _conditions(keeper, materials=there)["ClusterEvidencePolicy/p"]["Ready"][:2] == ("True", "InForce")


def test_a_trust_root_whose_config_map_is_missing_is_not_ready_and_neither_is_what_needs_it() -> None:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, _policy())
    keeper.put(TRUST_ROOTS, _trust_root(configMapRef={"name": "roots", "key": "root.json"}))
    found = _conditions(keeper, materials=Materials("assay-system"))
    assert found["TrustRoot/public-good"]["Accepted"][:2] == ("True", "Valid")
    assert found["TrustRoot/public-good"]["Ready"][:2] == ("False", "ReferenceMissing")
    assert "ConfigMap assay-system/roots" in found["TrustRoot/public-good"]["Ready"][2]
    assert found["ClusterEvidencePolicy/p"]["Ready"][:2] == ("False", "TrustRootMissing")
    there = Materials(
        "assay-system", {ObjectRef(CONFIG_MAP, "assay-system", "roots"): {"root.json": DOCUMENT.encode()}}
    )
    assert {c["Ready"][0] for c in _conditions(keeper, materials=there).values()} == {"True"}


def test_a_trust_root_that_a_setting_gives_is_not_watched_for() -> None:
    given = TrustRoot(name="public-good", content=b"{}", hash="sha256:00")
    keeper = Keeper(trust_roots={"public-good": given})
    keeper.put(TRUST_ROOTS, _trust_root(configMapRef={"name": "roots", "key": "root.json"}))
    assert keeper.references(namespace="assay-system") == {}
