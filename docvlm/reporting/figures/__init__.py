"""Figures of the report: each module draws one kind from numbers, `style` gives all of them one look."""
