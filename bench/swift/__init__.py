"""ms-swift beside the others: in its own environment, since it and docvlm want other versions of libraries."""
