"""Files to files: predictions of a model, their scores, and intervals clustered by document."""
