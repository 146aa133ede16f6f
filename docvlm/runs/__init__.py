"""Runs on disk: folder, identity, claim, result, and which are finished."""
