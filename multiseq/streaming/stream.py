"""Recognise speech while it is being said: samples in, text out, with a delay that is known.

Axes: vectors (of one chunk), samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from multiseq.adapters._speech.audio import open_audio
from multiseq.heads.ctc import CTCHead
from multiseq.heads.joint import JointHead
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.nn.linear import recurring_rows
from multiseq.results import Text, check_finite, timed
from multiseq.streaming.encoder import EncoderStream
from multiseq.vectors import VectorSets

__all__ = ["Stream"]


class Stream:
    """Recognises one recording whose samples come block by block. Its text grows, and never changes.

    The text is that of ``model.predict`` for the whole recording: at each vector the most probable token
    (greedy). A search by beams, or with a language model, would change words that have been given out.

    Args:
        model: A model whose encoder has chunks: ``Encoder(…, window=32, chunk=16)``.
        task: The name of a task with a `CTCHead` on recordings, or with a `JointHead`, of which CTC is used
            (as in ``predict(…, ctc_weight=1)``).
        rate: Hz, of the samples. They are resampled to the model's rate.

    Attributes:
        delay: Seconds, at most, after a sound until its vectors have been encoded: one chunk, and what the
            filters before the encoder look ahead. The computing time comes on top, and CTC may give out a
            token a few vectors after its sound.

    Raises:
        ValueError: The model cannot recognise a stream, or there is no such task.

    Example:
        >>> from multiseq import SpeechAdapter, Task, TextTarget
        >>> _ = torch.manual_seed(0)
        >>> tone = torch.sin(torch.arange(16000) / 9)
        >>> adapter = SpeechAdapter.fit([(tone, 16000)], dim=8, n_mels=20)
        >>> head = CTCHead(8, TextTarget.fit(["ab"], unit="character"))
        >>> model = Model(
        ...     {"speech": adapter}, Encoder(8, 1, 2, window=8, chunk=4), {"said": Task("speech", head)}
        ... )
        >>> stream = Stream(model, "said", rate=16000)
        >>> round(stream.delay, 3)
        0.13
        >>> texts = [stream.feed(block) for block in tone.split(1000)]
        >>> text = stream.finish()
        >>> text.text == model.predict("said", [(tone, 16000)])[0].text
        True
    """

    def __init__(self, model: Model, task: str, rate: int) -> None:
        head: Any = model.task(task).head
        if isinstance(head, JointHead):
            head = head.ctc
        adapter: Any = model.adapter(model.task(task).adapter_name)
        if not isinstance(head, CTCHead) or not hasattr(adapter, "stream"):
            raise ValueError(
                f"task: got {task!r} with a {type(head).__name__} on a {type(adapter).__name__}, expected "
                "one with a CTCHead or a JointHead on a SpeechAdapter"
            )
        if not isinstance(model.encoder, Encoder):
            raise ValueError(f"model: got a {type(model.encoder).__name__}, expected an Encoder with chunks")
        open_audio((torch.zeros(0), rate))  # raises ValueError for a wrong rate
        self._model, self._head, self._adapter, self._rate = model, head, adapter, rate
        self._encoder = EncoderStream(model.encoder)
        self._vectors: Any = adapter.stream(rate, self._encoder.chunk)
        self.delay: float = self._vectors.delay
        self._finished = False
        self._path: list[int] = []
        self._shares: list[float] = []
        self._tokens: list[int] = []
        self._begun = self._space = False
        """Whether letters have been given out, and whether a space comes before the next ones."""
        self._score = 0.0

    def feed(self, samples: Any) -> str:
        """Take the next samples, and return what they add to the text: it may be empty.

        Args:
            samples: One channel, as a list of floats in [-1, 1], numpy array or tensor, or 16-bit integers.
                Any number of them.

        Raises:
            ValueError: The samples are not audio, a prediction is NaN, or the stream is finished.
        """
        return self._recognise(samples, last=False)

    def finish(self) -> Text:
        """End the recording. The text that :meth:`feed` has returned, and its end, with the times of words.

        Its score is the log-probability of the most probable path. That of all paths of a text, the score in
        ``predict``, is a little higher, and needs the whole recording.
        """
        self._recognise(torch.zeros(0), last=True)
        self._finished = True
        text = Text(self._head.target.decode_tokens(self._tokens), self._score)
        text = self._head.timed(text, torch.tensor(self._path).long(), torch.tensor(self._shares))
        seconds, step = self._vectors.seconds, self._adapter.vector_seconds
        return timed(text, [min(i * step, seconds) for i in range(len(self._path) + 1)])

    def _recognise(self, samples: Any, *, last: bool) -> str:
        if self._finished:
            raise ValueError("stream: it is finished; begin a new Stream for another recording")
        recording = open_audio((samples, self._rate), channel=self._adapter.channel)
        block = torch.cat([torch.zeros(0), *recording.blocks()])
        added = ""
        with self._model.evaluating(), recurring_rows():
            for vectors in self._vectors(block, last=last):
                added += self._read(self._encoder(vectors))
        return added

    def _read(self, encoded: Tensor) -> str:
        """Go on with the path through the vectors of a chunk; what it adds to the text."""
        head, target = self._head, self._head.target
        log_probs = head(VectorSets(encoded, [len(encoded)]))
        check_finite(log_probs, [len(encoded)])
        best, path = head.possible(log_probs).max(-1)
        self._score += float(best.sum())
        self._shares += best.exp().tolist()
        added = ""
        for token in path.tolist():
            repeated = bool(self._path) and token == self._path[-1]
            self._path.append(token)
            if token != target.blank and not repeated:
                self._tokens.append(token)
                added += self._spelled(token)
        return added

    def _spelled(self, token: int) -> str:
        """What a token adds to the text. Of pieces, a space is given out with the letters after it."""
        ends, letters = self._head.target.spelling(token)
        if self._head.target.unit == "character":
            return f"{' ' if ends else ''}{letters}"
        self._space = self._space or (ends and self._begun)
        if not letters:
            return ""
        added = f"{' ' if self._space else ''}{letters}"
        self._space, self._begun = False, True
        return added
