"""A run as an artefact: written, read back, compared with the run, scored and timed before it gets its name."""
