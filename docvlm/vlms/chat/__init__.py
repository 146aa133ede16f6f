"""Any image-text-to-text checkpoint with a chat template, by what its own files say of it."""
