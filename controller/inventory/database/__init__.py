"""How both databases are opened (`engines`), fail (`failures`), differ (`dialect`), and are asked quickly."""
