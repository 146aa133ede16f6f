"""The kinds of document of generated DocVQA pages at the `full` preset."""

from __future__ import annotations

from docvlm.data.generated.full import translated
from docvlm.data.generated.full.form import form
from docvlm.data.generated.full.invoice import invoice
from docvlm.data.generated.full.letter import letter
from docvlm.data.generated.full.receipt import receipt
from docvlm.data.generated.full.table import table

KINDS = (form, table, invoice, letter, receipt)
TRANSLATED = translated.KINDS
