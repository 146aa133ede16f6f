"""A plugin of ms-swift (`--external_plugins`): a training whose steps are taken one by one, when they are asked for.

It runs in ms-swift's environment and knows nothing of docvlm. Two pipes, whose numbers are in the environment, tell it
to take a step and take back what that took, with the tokens of its batch: from before data are asked for to the end of
the step.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from swift.callbacks import callbacks_map
from swift.callbacks.base import TrainerCallback
from swift.template.templates.qwen import Qwen2VLTemplate

# there that of the published vocabulary, whatever a checkpoint's config says: of a page one token would be seen
Qwen2VLTemplate.image_token_id = int(os.environ["TURNS_IMAGE_TOKEN"])


class Turns(TrainerCallback):
    """Waits before every step. The training ends where nobody asks any more."""

    def __init__(self, args: Any, trainer: Any) -> None:
        super().__init__(args, trainer)
        self.asked = os.fdopen(int(os.environ["TURNS_ASKED"]))
        self.taken = os.fdopen(int(os.environ["TURNS_TAKEN"]), "w")
        self.began = 0.0
        self.tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at what is computed, then wait."""
        loss_of = self.trainer.compute_loss

        def counted(model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
            self.tokens = inputs["input_ids"].numel()
            return loss_of(model, inputs, *more, **named)

        self.trainer.compute_loss = counted
        self._wait(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say what the step took, then wait for the next."""
        took = time.perf_counter() - self.began
        print(json.dumps({"seconds": took, "tokens": self.tokens}), file=self.taken, flush=True)
        self._wait(control)

    def _wait(self, control: Any) -> None:
        if not self.asked.readline():
            control.should_training_stop = True
        self.began = time.perf_counter()


callbacks_map["turns"] = Turns
