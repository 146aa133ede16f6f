"""Sentences of business English with a fact in each, for letters and the text around tables."""

from __future__ import annotations

from collections.abc import Callable

from docvlm.data.generated.values import Values, money

# sentence with one slot, how the slot is filled, a question for it
FACTS = (
    ("Our offices in {} will be closed during the last week of the year.", "place",
     "Where are the offices that will be closed?"),
    ("Please direct all further enquiries to {}, who will be glad to assist you.", "person",
     "To whom should enquiries be directed?"),
    ("The outstanding balance of {} should reach our account within ten working days.", "money",
     "What is the outstanding balance?"),
    ("The next meeting of the committee has been arranged for {}.", "day",
     "For which day is the next meeting arranged?"),
    ("As agreed on the telephone, the delivery comprises {} units in total.", "number",
     "How many units does the delivery comprise?"),
    ("The audit was carried out by {} and gave no cause for complaint.", "company",
     "Who carried out the audit?"),
    ("The revised contract comes into force on {} and replaces all earlier versions.", "day",
     "When does the revised contract come into force?"),
    ("A deposit of {} has been received with thanks.", "money",
     "How large is the deposit that was received?"),
    ("The survey was answered by {} households.", "number",
     "How many households answered the survey?"),
    ("Responsibility for the project passes to {} with immediate effect.", "person",
     "To whom does responsibility for the project pass?"),
    ("The goods will be collected by {} on our behalf.", "company",
     "Who will collect the goods?"),
    ("The training course takes place in {} and lasts three days.", "place",
     "Where does the training course take place?"),
)  # fmt: skip
FILLERS = (
    "We would like to thank you for the good cooperation over the past months.",
    "All figures have been reviewed and are correct to the best of our knowledge.",
    "Further details can be found in the documents enclosed.",
    "We regret any inconvenience that this may have caused.",
    "The terms that were agreed upon remain unchanged in every other respect.",
    "Should you have any questions, please do not hesitate to contact us.",
    "This development is in line with what had been expected at the beginning of the period.",
    "A copy of this document is kept on file for future reference.",
)


SLOTS: dict[str, Callable[[Values], str]] = {
    "company": lambda v: v.company(20),
    "day": lambda v: f"{(day := v.day()).day} {day:%B %Y}",
    "money": lambda v: money(v.number(10_000, 9_000_000)),
    "number": lambda v: str(v.number(100, 9999)),
    "person": lambda v: v.person(22),
    "place": lambda v: v.word("place"),
}
"""What a fact's slot can be filled with."""


def facts(values: Values, count: int) -> list[tuple[str, str, str]]:
    """`count` different facts: sentence, answer, question."""
    result = []
    for sentence, what, question in values.several(FACTS, count):
        answer = SLOTS[what](values)
        result.append((sentence.format(answer), answer, question))
    return result


def paragraph(values: Values, told: list[tuple[str, str, str]]) -> str:
    """The facts' sentences among two filling ones, in random order."""
    sentences = [sentence for sentence, _, _ in told] + values.several(FILLERS, 2)
    values.rng.shuffle(sentences)
    return " ".join(sentences)
