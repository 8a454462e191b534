"""Assay: no image runs without evidence, and for every image that ever ran the evidence can be shown."""

__version__ = "0.1.0"
