"""`docvlm-app`: a page in the browser that asks a run, and the checkpoint it started from, about a page."""
