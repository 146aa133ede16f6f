"""Pages that stand in two splits: found, shown, taken out of train."""
