"""docvlm: fine-tune and evaluate vision-language models on document question answering."""

__version__ = "0.1.0"
