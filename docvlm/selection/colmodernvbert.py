"""Pages ranked by a late-interaction retriever: every token of a question finds its best place on a page.

ColModernVBert (Teiletche et al. 2025, arXiv 2510.01149), the retriever of Transformers for pictures of pages; the same
score as ColPali's (Faysse et al. 2024, arXiv 2407.01449): the sum over the question's tokens of the largest dot product
with a token of the page. A page is embedded once a command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from docvlm.errors import DocvlmError
from docvlm.vlms.checkpoint import load_config, load_processor, load_weights
from docvlm.vlms.page_images import open_page

if TYPE_CHECKING:
    from docvlm.data.example import Page

_KEY = "selector_checkpoint"
_KEPT = 4096  # pages whose embeddings are held, some hundreds of KB each


class Retriever:
    """A retriever with its processor. `device`: where it embeds."""

    def __init__(self, net: Any, processor: Any, device: torch.device) -> None:
        self.net, self.processor, self.device = net.to(device).eval(), processor, device
        self._pages: dict[Page, Tensor] = {}

    @classmethod
    def load(cls, checkpoint: str, *, offline: bool) -> Retriever:
        """The retriever of a folder or a hub id. Raises `DocvlmError` where it is not there, or of another type."""
        from transformers import ColModernVBertForRetrieval, ColModernVBertProcessor

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        how: dict[str, Any] = {
            "dtype": torch.bfloat16 if device.type == "cuda" else torch.float32,
            "attn": "sdpa",
            "offline": offline,
            "generates": False,
        }
        try:
            found = load_config(checkpoint, offline=offline).model_type
            if found != ColModernVBertForRetrieval.config_class.model_type:
                raise DocvlmError(f"{_KEY}={checkpoint}: model_type is {found!r}, not colmodernvbert")
            net = load_weights(ColModernVBertForRetrieval, checkpoint, **how)
            processor = load_processor(checkpoint, ColModernVBertProcessor, offline=offline)
        except DocvlmError as error:
            raise DocvlmError(str(error).replace("model.checkpoint=", f"{_KEY}=")) from error
        return cls(net, processor, device)

    @torch.no_grad()
    def scores(self, question: str, pages: Sequence[Page]) -> list[float]:
        """Late-interaction scores of the pages."""
        asked = self._embedded(self.processor.process_queries(text=[question], return_tensors="pt"))
        return [float((asked @ self._page(page).T).amax(dim=1).sum()) for page in pages]

    def _page(self, page: Page) -> Tensor:
        if page not in self._pages:
            if len(self._pages) >= _KEPT:
                self._pages.pop(next(iter(self._pages)))
            inputs = self.processor.process_images(images=[open_page(page)], return_tensors="pt")
            self._pages[page] = self._embedded(inputs)
        return self._pages[page]

    def _embedded(self, inputs: Any) -> Tensor:
        """Embeddings of the tokens that are there (T x D)."""
        moved = inputs.to(self.device)
        found: Tensor = self.net(**moved).embeddings[0]
        return found[moved["attention_mask"][0].bool()].float()
