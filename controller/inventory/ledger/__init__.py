"""The ledger: which records there are, in which order, so that none can be changed, removed or reordered unseen.

Pure, with no database and no clock: `merkle` is the tree (RFC 6962), `tiles` how it is stored and published (C2SP
tlog-tiles), `notes`, `checkpoint` and `witness` what is signed of it (C2SP signed-note, tlog-checkpoint,
tlog-cosignature). `sequencing` numbers what was recorded, `reading` proves what stands where, and the threads of
`keeping` and `witnessing` keep both going.
"""
