"""From a custom resource to a compiled policy, and from verified evidence to the reasons for a verdict.

Pure: nothing here does network I/O or reads a clock. `parse` reads objects, `compiled` compiles them once, `index`
finds candidates for an image, `snapshot` holds the whole picture, `requirements` and `evaluation` judge.
"""
