"""How the embedded checkpoints were trained: drawn pages, curriculum, recipe."""
