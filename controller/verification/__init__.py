"""Signatures and attestations: the only package that knows sigstore, and the only one that may say *verified*.

Read `verifier.py` first. It takes bytes that anybody may have put beside an image and gives back what was proven about
exactly one digest. Everything else here is one step of that proof, each in a module of its own.
"""
