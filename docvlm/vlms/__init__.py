"""Model families behind one protocol (`docvlm.vlms.base`)."""
