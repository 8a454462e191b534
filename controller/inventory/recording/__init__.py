"""The acknowledged write: a leaf and the bytes that it names, in one commit or in the spool, and the rows that follow.

`writer` is one thread with a queue; `append` is the group that it commits, `fallback` what happens while the database
is away. What a leaf says is read without a database (`projecting`, `judgements`), and `projections`
and `runs` make rows of it.
"""
