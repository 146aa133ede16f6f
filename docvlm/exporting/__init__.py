"""A run as an artefact: written, read back, compared with the run, scored and timed before it gets its name."""

FORMATS = ("adapter", "merged", "int8", "int4")
"""What a run can be exported as; each is a module of this package."""
TOLERANCES = (*FORMATS, "merged_16bit")
"""What `conf/export.yaml` declares a tolerance for."""
