"""Which page: whether the answer was read from a page that holds it, and whether such a page was shown.

This is no metric of `docvlm.metrics`: it is about a number of a page, not about the text of an answer, and only sets
that name the answer's page have it.
"""

from __future__ import annotations

from collections.abc import Sequence

from docvlm.scoring.intervals import Interval, score_interval
from docvlm.scoring.predictions import Prediction


def page_accuracy(records: Sequence[Prediction]) -> Interval | None:
    """The share of questions whose `page` is among `answer_pages`, over the questions that know both.

    With a 95 % interval over documents. None where no question knows both, or where all that do are on documents of one
    page, which cannot be missed. Tito et al. (arXiv 2212.05935) have it beside the score, there for one page.
    """
    known = [record for record in records if record.page is not None and record.answer_pages]
    if all(record.n_pages == 1 for record in known):
        return None
    documents = [(record.benchmark, record.document) for record in known]
    return score_interval([float(record.page in record.answer_pages) for record in known], documents)


def page_recall(records: Sequence[Prediction]) -> Interval | None:
    """The share of questions of which a page that holds the answer was shown: no reader can be right on more.

    Over the questions that say which pages hold their answer, with a 95 % interval over documents. With k pages handed
    on it is recall@k. None where every question was asked of all pages, together or one by one.
    """
    known = [record for record in records if record.answer_pages]
    if not any(record.shown for record in known):
        return None
    documents = [(record.benchmark, record.document) for record in known]
    found = [not record.shown or bool({*record.shown} & {*record.answer_pages}) for record in known]
    return score_interval([float(one) for one in found], documents)
