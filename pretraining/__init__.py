"""How the embedded checkpoints were made: untrained models, drawn pages, curriculum, recipe. Not in the wheel."""
