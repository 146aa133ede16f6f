"""Questions to answers, for people and programs: what `docvlm-predict` and `from docvlm import load` are made of."""
