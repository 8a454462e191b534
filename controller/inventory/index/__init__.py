"""What stands in attested documents, from their raw bytes into rows: `reading` is pure, `writing` knows the database.

A kind of document has a file of its own (`sboms`). Which documents there are, and what was verified about which
image, is told by the leaves; nothing is taken from anywhere but the bytes, and nothing of what they say is verified.
"""
