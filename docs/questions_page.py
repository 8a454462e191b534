"""The page of the fifteen questions: how each is asked by command and by REST, and by which tests it is answered."""

from __future__ import annotations

from dataclasses import dataclass

ESTATE = "tests/contract/estate/test_estate_questions.py"
RESTING = "tests/contract/estate/test_estate_evidence.py"
LISTS = "tests/contract/test_packages.py"
EXPORTS = "tests/e2e/test_export.py"
PROOFS = "tests/unit/reading/test_evidence.py"
TRUE = (
    f"{ESTATE}::test_each_question_has_the_answer_that_is_true",
    f"{ESTATE}::test_a_question_by_rest_has_the_answer_that_is_true",
    f"{ESTATE}::test_a_question_by_command_has_the_answer_that_is_true",
)


@dataclass(frozen=True)
class Way:
    """One way to ask. `tests` are those that ask it where the estate's do not."""

    command: str
    call: str
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The command without its parameters."""
        return self.command.split()[2]

    @property
    def path(self) -> str:
        """The path of the call."""
        return self.call.partition("?")[0]


QUESTIONS: dict[int, tuple[str, tuple[Way, ...]]] = {
    1: (
        "What runs now that contains a package, in a range of versions, where, since when?",
        (Way("assay inventory packages PURL '<2.17.1'", "/api/v1/packages?purl=PURL&versions=<2.17.1"),),
    ),
    2: (
        "What ran on a day that contains it, though its pods are long gone?",
        (Way("assay inventory packages PURL --as-of DAY", "/api/v1/packages?purl=PURL&asOf=TIME"),),
    ),
    3: (
        "Was that known then?",
        (
            Way(
                "assay inventory packages PURL --as-of DAY --known-at DAY",
                "/api/v1/packages?purl=PURL&asOf=TIME&knownAt=TIME",
            ),
        ),
    ),
    4: (
        "Who signed what runs in a namespace or cluster, and what runs that nobody signed?",
        (
            Way("assay inventory running -n NAMESPACE", "/api/v1/runs?asOf=TIME&namespace=NAMESPACE"),
            Way("assay inventory running --unsigned", "/api/v1/runs?asOf=TIME&signed=false"),
        ),
    ),
    5: (
        "Under which policy version was a pod admitted, by which rule values?",
        (Way("assay inventory admission NAMESPACE/POD", "/api/v1/admissions?namespace=NAMESPACE&name=POD"),),
    ),
    6: (
        "What was admitted with a warning, an exception, a broken glass, by failing open, or without any admission?",
        (
            Way("assay inventory decisions --flag fail-open", "/api/v1/decisions?flag=fail-open"),
            Way("assay inventory running --admission unadmitted", "/api/v1/runs?asOf=TIME&admission=Unadmitted"),
        ),
    ),
    7: (
        "What runs and would be refused by today's policies, as last evaluated?",
        (Way("assay inventory refused", "/api/v1/refused"),),
    ),
    8: (
        "Which exceptions were used, who approved them, until when, how often?",
        (
            Way("assay inventory exceptions", "/api/v1/exceptions"),
            Way("assay inventory decisions --exception NAME", "/api/v1/decisions?exception=NAME"),
        ),
    ),
    9: (
        "Is this report about the very image that ran?",
        (
            Way(
                "assay inventory prove DIGEST",
                "/api/v1/proofs/DIGEST",
                (
                    f"{EXPORTS}::test_a_report_is_proven_to_be_about_the_very_image_that_ran",
                    f"{PROOFS}::test_guarantee_20_a_proof_is_of_a_namespaces_own_runs_alone",
                ),
            ),
            Way("assay inventory show DIGEST", "/api/v1/images/DIGEST"),
            Way("assay inventory blob DIGEST -O FILE", "/api/v1/blobs/DIGEST"),
        ),
    ),
    10: (
        "Which running images have no SBOM, an unsigned one, one for another digest, an incomplete or a stale one?",
        (Way("assay inventory sboms", "/api/v1/sboms"),),
    ),
    11: (
        "What are the components of a cluster, a namespace, an image?",
        (
            Way("assay inventory components --cluster CLUSTER", "/api/v1/components?cluster=CLUSTER"),
            Way(
                "assay inventory components -o cyclonedx",
                "/api/v1/bom",
                (f"{LISTS}::test_a_merged_document_is_the_same_to_the_byte_and_lists_each_component_once",),
            ),
        ),
    ),
    12: (
        "Which assets are there, as FedRAMP's continuous monitoring wants them?",
        (Way("assay inventory assets --all -o csv", "/api/v1/assets?format=csv"),),
    ),
    13: (
        "Which findings of signed reports are open: how severe, how old, is there a fix, what clears them?",
        (Way("assay inventory findings --open", "/api/v1/findings?cleared=false"),),
    ),
    14: (
        "What does a signer, builder, base image or log entry reach that turned out bad?",
        (
            Way("assay inventory affected --signer KEY --count", "/api/v1/affected?signer=KEY"),
            Way("assay inventory affected --signer KEY --ever", "/api/v1/affected/runs?signer=KEY&ever=true"),
            Way("assay inventory affected --signer KEY --list images", "/api/v1/affected/images?signer=KEY"),
            Way(
                "assay inventory affected --builder ID --list decisions",
                "/api/v1/affected/decisions?builder=ID",
                (f"{RESTING}::test_what_rests_on_what_turned_out_bad_is_what_rests_on_it",),
            ),
        ),
    ),
    15: (
        "What can be handed to somebody who does not have Assay, and verifies there?",
        (
            Way("assay inventory export --digest DIGEST -O FILE", "/api/v1/exports?digest=DIGEST"),
            Way(
                "assay inventory export --verify FILE --key FILE",
                "",
                (
                    f"{EXPORTS}::test_assay_verifies_it_without_a_database_and_names_what_was_changed",
                    f"{EXPORTS}::test_the_readme_alone_verifies_the_bundle_with_public_tools",
                ),
            ),
        ),
    ),
}

_HEAD = f"""# The fifteen questions

What the inventory is there to answer, with a command and a call for each. Every one can be asked of now or of any past day
(`--as-of`, `asOf`), and of what was known on a day (`--known-at`, `knownAt`); of one namespace (`-n`, `namespace`); page by
page, or whole as CSV or JSON lines (`--all -o csv`, `format=csv`). `commands.md` and `/api/v1/openapi.json` have the other
filters, [how-to/read-the-inventory.md](../how-to/read-the-inventory.md) who may ask.

The answers are held against a year of an invented estate, from which each is worked out by a program that has never seen
Assay's (`tests/bench/estate/oracle`): from the inventory itself, through REST, and by command, now, of a past day, as it was
known then, and in a namespace. A way that is tried elsewhere names its tests.

{"".join(f"- `{test}`{chr(10)}" for test in TRUE)}"""


def page() -> str:
    """The page in Markdown."""
    lines = [_HEAD]
    for number, (text, ways) in QUESTIONS.items():
        lines += [f"## {number}. {text}\n", "```text"]
        lines += [line for way in ways for line in (way.command, f"GET {way.call}") if line != "GET "]
        lines += ["```", ""]
        tests = [f"- `{test}`" for way in ways for test in way.tests]
        lines += [*tests, ""] if tests else []
    return "\n".join(lines)


def tests() -> set[str]:
    """All tests that it names."""
    return {*TRUE, *(test for _, ways in QUESTIONS.values() for way in ways for test in way.tests)}
