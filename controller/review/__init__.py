"""The review of one object: ports (what is needed), pipeline (the story), decide (pure), and three caches by name."""
