"""The RRC evaluation rule for ANLS, written from its description: what the metrics are checked against."""

from __future__ import annotations


def edit_distance(a: str, b: str) -> int:
    """Textbook Levenshtein distance, one row at a time; shares no code with rapidfuzz."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
    return row[-1]


def rrc(prediction: str, answers: list[str], threshold: float = 0.5) -> float:
    """The RRC rule, step by step from its description: normalised distance, raw length, keep the threshold itself."""
    values = []
    for answer in answers:
        distance = edit_distance(" ".join(answer.strip().lower().split()), " ".join(prediction.strip().lower().split()))
        length = max(len(answer.upper()), len(prediction.upper()))
        values.append(0.0 if length == 0 else distance / length)
    similarity = 1 - min(values)
    return 0.0 if similarity < threshold else similarity
