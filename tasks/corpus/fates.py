"""What becomes of the documents of one partition when several steps choose among them, one after the other."""

from __future__ import annotations

import numpy as np

from tasks.corpus.survivors import Choice


class Fates:
    """The fate of each document; all arrays have the shape (documents,).

    `stays`; `step`, the number of the step that compared it last; `match`, the number of the document with which it was
    compared, or -1; their `similarity`, NaN where texts were not compared; `words` and `lost` as in
    `tasks.corpus.survivors`.
    """

    def __init__(self, count: int) -> None:
        self.stays = np.ones(count, bool)
        self.step = np.zeros(count, np.int64)
        self.match = np.full(count, -1, np.int64)
        self.similarity = np.full(count, np.nan)
        self.words = np.full(count, -1, np.int64)
        self.lost = np.full(count, -1, np.int64)
        self._same = np.zeros(count, bool)  # it went as an exact copy of its match
        self._verified = np.zeros(count, bool)

    def decide(self, step: int, rivals: np.ndarray, choice: Choice, exact: bool) -> None:
        """Take the choice of a step among `rivals`, the numbers of documents. `exact`: they have the same text."""
        compared = choice.match >= 0
        at = rivals[compared]
        self.step[at] = step
        self.match[at] = rivals[choice.match[compared]]
        self.similarity[at] = choice.similarity[compared]
        self.words[at], self.lost[at] = choice.words[compared], choice.lost[compared]
        gone = rivals[choice.goes]
        self.stays[gone] = False
        self._same[gone] = exact
        self._verified[gone] = choice.verified

    def give_back(self) -> None:
        """Let every document stay whose match went in a later step: it was not compared with what stays instead.

        An exact copy needs no comparison: what stands for its match stands for it. A mode that looks for no survivor
        gives nothing back.
        """
        # The match of a document goes in a later step, if at all. So what a later step decided is final here.
        for step in range(int(self.step.max(initial=0)), -1, -1):
            for document in np.flatnonzero(~self.stays & (self.step == step)).tolist():
                match = int(self.match[document])
                if self.stays[match] or not self._verified[document]:
                    continue
                if not self._same[document]:
                    self.stays[document] = True
                    self.match[document], self.similarity[document] = -1, np.nan
                elif self.match[match] >= 0:
                    self.match[document], self.similarity[document] = self.match[match], self.similarity[match]
                    self.words[document], self.lost[document] = self.words[match], self.lost[match]
