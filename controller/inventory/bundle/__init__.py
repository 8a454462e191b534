"""The evidence bundle: what is known of a release or an incident in one tar file, which verifies without Assay. Pure.

Format: docs/reference/evidence-bundle.md. Nothing here knows of a database: a `Source` hands over records, bytes and
proofs, and `archive` writes and reads the file.
"""
