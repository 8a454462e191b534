"""Keeps the snapshot that reviews decide by, from Assay's own resources in a cluster, and tells their authors.

`holder` is what a review asks. `feed` brings objects (kopf's watches for speed, lists for truth), `keeper` holds and
compiles them, `status` says what became of each, `service` runs all of it in threads of its own.
"""
