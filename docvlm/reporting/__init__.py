"""6. Results → tables, figures, page. Reads the files of run folders and nothing else."""
