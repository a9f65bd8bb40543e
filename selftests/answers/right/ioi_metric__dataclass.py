# An object of a dataclass with __call__, made with the notebook's numbers.
from dataclasses import dataclass

import utils


@dataclass
class Scale:
    low: float
    high: float

    def __call__(self, logits, answer_tokens=answer_tokens, corrupted_logit_diff=None, clean_logit_diff=None):
        low = self.low if corrupted_logit_diff is None else corrupted_logit_diff
        high = self.high if clean_logit_diff is None else clean_logit_diff
        return (utils.logits_to_ave_logit_diff(logits, answer_tokens) - low) / (high - low)


ioi_metric = Scale(corrupted_logit_diff, clean_logit_diff)
