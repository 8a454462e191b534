"""`assay query`: questions of an auditor's own, in SQL, over the stable views and nothing else."""
