"""The questions that people ask, family by family: each reads one state of the database, is bounded, takes two times.

A family is a class on `asker.Asker`, and `controller.inventory.questions` puts all of them together. What several
families need stands beside them: who may know what (`visibility`), which evidence holds for which runs (`kinship`),
cursors, and ways of going through a list (`sifting`).
"""
