"""What ran, where and when: run by run, and gathered by image.

Two modules find runs by the same ranges of an index (`intervals`). `ranges` asks for them alone, page by page or
counted, by statements that are made once; `standing` gives what runs at a moment as a table that another question's
statement joins. `words` is what either says of a run.
"""
