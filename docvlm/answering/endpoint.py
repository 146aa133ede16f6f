"""`endpoint=URL`: a model that is served elsewhere, scored by the same protocol as weights that are loaded here.

The same questions in the same words, each benchmark's instruction behind them, the same limit on tokens, greedy, and
pages resized to the evaluation's budget by the code that local evaluation of the family uses: what its server is sent,
its own processor leaves as it is, bit for bit (`tests/answering`). With both pixels null, and with `model=chat`, pages
go as they are, for models that resize in their own way. Documents are asked about at once, questions of one document
one after the other, so that a server with a prefix cache reads its pages once. Answers are kept as they come; order and
timing decide nothing. What answers may be can be said (`docvlm.answering.structured`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.answering.chat import Chat, data_url
from docvlm.answering.elsewhere import Elsewhere
from docvlm.answering.structured import Structured, structured
from docvlm.data.loading.packing import by_pages
from docvlm.errors import DocvlmError
from docvlm.files import part_of_name
from docvlm.vlms.codec import Budget
from docvlm.vlms.families import FAMILIES, Served, imported
from docvlm.vlms.page_images import open_page

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.answering.elsewhere import Answered
    from docvlm.config import EvaluateConfig
    from docvlm.config.endpoint import Asks
    from docvlm.data.example import Example, Page
    from docvlm.data.reading import Reading

FOLDER = Path("outputs") / "endpoint"


@dataclass(frozen=True)
class Endpoint(Elsewhere):
    """A served model as evaluation asks it: at most `concurrency` documents at once, pages of `budget`.

    `how` is what its family says of served models, `structured` what answers may be (None: anything).
    """

    chat: Chat
    budget: Budget
    concurrency: int
    how: Served
    structured: Structured | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def described(self) -> dict[str, Any]:
        """Everything on this side that decides an answer. What weights the server holds, only its name tells."""
        return {
            "endpoint": self.chat.endpoint,
            "served": self.chat.served,
            "budget": self.budget.decided,
            "prompt": self.how.described,
            **({} if self.structured is None else self.structured.described),
        }

    def check(self, reading: Reading) -> None:
        if reading.one_by_one and not self.chat.logprobs:
            raise DocvlmError(
                f"data.pages={reading.pages}: the most confident answer of a document's pages stands, and a server"
                " says no confidence with logprobs=false; take data.pages=all or first"
            )
        if reading.page_numbers:
            raise DocvlmError("data.page_numbers=true: a served model is sent pages without their numbers; set false")

    def answers(self, examples: Sequence[Example], max_new_tokens: int) -> Iterator[Answered]:
        """Answers to all examples, a document at a time, in the order in which the server has them.

        Raises the first `DocvlmError` after what was answered before it has been handed out; questions that are being
        answered meanwhile are waited for, and no other is asked.
        """
        stop = threading.Event()
        failed: list[DocvlmError] = []

        def document(group: Sequence[Example]) -> Answered:
            answered: Answered = []
            try:
                pages = [] if stop.is_set() else self.sent(group[0])
                for example in group:
                    if not stop.is_set():
                        text = example.question + example.instruction
                        answered.append((example, self.chat.ask(pages, text, max_new_tokens, self.structured)))
            except DocvlmError as error:
                failed.append(error)
                stop.set()
            return answered

        cut = 0
        with ThreadPoolExecutor(self.concurrency, "endpoint") as pool:
            try:
                for done in as_completed([pool.submit(document, group) for group in by_pages(examples)]):
                    if answered := done.result():
                        cut += sum(reply.truncated for _, reply in answered)
                        yield answered
            finally:
                stop.set()  # Ctrl-C, or an error in what is done with the answers
        if failed:
            raise DocvlmError(f"{failed[0]}. Answers so far are kept: the same command goes on")
        if cut and self.structured is not None:
            (key, *_) = self.structured.described
            print(f"{key}: {cut} answers ended at max_new_tokens={max_new_tokens} before they were whole", flush=True)

    def sent(self, example: Example) -> list[str]:
        """The pages of an example as messages hold them."""
        return [data_url(self.seen(page, len(example.pages))) for page in example.pages]

    def seen(self, page: Page, pages: int = 1) -> Image:
        """A page of a document of so many as it is sent.

        One is opened at a time: charts are drawn by matplotlib, which is not for threads.
        """
        with self._opening:
            if self.how.page is None or self.budget == Budget():
                return open_page(page)
            image: Image = imported(self.how.page)(page, self.budget.of_each(pages))
            return image


def connected(cfg: EvaluateConfig) -> Endpoint:
    """The endpoint of the config, which has been asked what it serves. Raises `DocvlmError` if it cannot be used."""
    allowed = structured(cfg)  # before anything is asked
    budget = Budget(**asdict(cfg.budget))
    return asked_as(cfg, cfg.model.family, budget, logprobs=cfg.logprobs, structured=allowed)


def asked_as(
    cfg: Asks, family: str, budget: Budget, *, logprobs: bool = True, structured: Structured | None = None
) -> Endpoint:
    """The endpoint of a config, asked in the words of `family` about pages of `budget`. Raises `DocvlmError`."""
    how = FAMILIES[family].served
    if cfg.endpoint is None or how is None:
        raise DocvlmError(f"endpoint={cfg.endpoint}: {FAMILIES[family].label} is not asked by chat; leave it out")
    chat = Chat(cfg.endpoint, cfg.served, timeout=cfg.timeout, retries=cfg.retries, logprobs=logprobs)
    print(f"endpoint: {chat.served} at {chat.endpoint}, {cfg.concurrency} documents at once", flush=True)
    return Endpoint(chat, budget, cfg.concurrency, how, structured)


def folder(served: str) -> Path:
    """Where answers of a served model go."""
    return FOLDER / part_of_name(served)
