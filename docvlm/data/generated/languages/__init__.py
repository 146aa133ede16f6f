"""Generated pages in other languages than English: their words, their fonts, and what stands on a page."""
