"""The ledger: which records there are, in which order, so that none can be changed, removed or reordered unseen.

`merkle` is the tree (RFC 6962), `tiles` how it is stored and published (C2SP tlog-tiles), `notes` and `checkpoint` what
is signed of it (C2SP signed-note, tlog-checkpoint, tlog-cosignature). Pure: no database and no clock in here.
"""
