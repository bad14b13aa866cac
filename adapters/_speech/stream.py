"""Speech that comes block by block: from samples to the vectors of the stem, chunk by chunk.

The vectors are those of the whole recording. The resampling filter, the windows of the spectrogram and the
stem's convolutions look some milliseconds ahead, and the stream waits for these samples.

Axes: samples (of one channel), frames (10 ms), mels, vectors (of one chunk), dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from multiseq.adapters._speech.log_mel import filter_reach, hop_of, log_mel, resample, simple_ratio

__all__ = ["FrameStream", "Resampler", "VectorStream"]


class Resampler:
    """Resamples blocks of samples. All blocks together have the result of `resample` for the whole.

    Args:
        ratio: Old rate / new rate.
    """

    def __init__(self, ratio: Fraction) -> None:
        self._ratio = simple_ratio(ratio)
        self._reach = filter_reach(self._ratio)
        self._held, self._begin, self._done = torch.zeros(0), 0, 0
        """The samples that are still needed; the number of the first; how many samples are resampled."""

    @property
    def delay(self) -> int:
        """The most samples (at the old rate) that it waits for before it gives one out."""
        return self._reach + self._ratio.numerator if self._reach else 0

    def __call__(
        self, samples: Float[Tensor, " samples"], *, last: bool = False
    ) -> Float[Tensor, " resampled"]:
        """The next samples at the new rate. ``last``: no block follows."""
        old, new = self._ratio.numerator, self._ratio.denominator
        if old == new:
            return samples
        self._held = torch.cat([self._held, samples])
        known = self._begin + len(self._held)
        end = known if last else max((known - self._reach) // old * old, self._done)
        if end == self._done:
            return samples[:0]
        resampled = resample(self._held, self._ratio)[(self._done - self._begin) // old * new :]
        resampled = resampled[: -(-(end - self._done) * new // old)]
        self._done = end
        begin = max(end - self._reach, 0)
        self._held, self._begin = self._held[max(begin - self._begin, 0) :], max(begin, self._begin)
        return resampled


class FrameStream:
    """The log-mel frames of blocks of samples. All together they are those of the whole recording.

    Args:
        rate: Hz, of the samples.
        sample_rate: Hz, to which they are resampled.
        n_mels: Number of mel bands per frame.
    """

    def __init__(self, rate: int, sample_rate: int, n_mels: int) -> None:
        self._resampler = Resampler(Fraction(rate, sample_rate))
        self._sample_rate, self._n_mels, self._hop = sample_rate, n_mels, hop_of(sample_rate)
        self._held, self._done = torch.zeros(0), 0
        """The samples from one frame before the next frame on; how many frames have been given out."""
        self.delay = self._resampler.delay / rate + self._hop / sample_rate
        """Seconds after the end of a frame until it is there."""
        self._samples = 0

    @property
    def step(self) -> float:
        """Seconds from one frame to the next."""
        return self._hop / self._sample_rate

    @property
    def seconds(self) -> float:
        """Seconds of sound so far, without what the resampling filter waits for."""
        return self._samples / self._sample_rate

    def __call__(
        self, samples: Float[Tensor, " samples"], *, last: bool = False
    ) -> Float[Tensor, "frames mels"]:
        """The next frames. ``last``: no block follows."""
        hop, lead = self._hop, min(self._done, 1)
        resampled = self._resampler(samples, last=last)
        self._samples += len(resampled)
        self._held = torch.cat([self._held, resampled])
        # A window of 25 ms ends less than a frame after its frame. After the last sample it sees silence.
        count = -(-len(self._held) // hop) - lead if last else len(self._held) // hop - lead - 1
        if count <= 0:
            return torch.zeros(0, self._n_mels)
        frames = log_mel(self._held[: (lead + count + 1) * hop], self._sample_rate, self._n_mels)
        self._done += count
        self._held = self._held[(lead + count - 1) * hop :]
        return frames[lead : lead + count]


class VectorStream:
    """The vectors of a recording that comes block by block: those of the stem for the whole recording.

    Args:
        stem: Maps frames, ``(frames, mels)``, to vectors, ``(vectors, dim)``, as if there were no others.
        frames: Makes frames of the blocks of samples.
        chunk: The number of vectors that are given out together.
        subsample: Frames per vector.
        reach: Frames before and after its own that a vector sees.
    """

    def __init__(
        self, stem: Callable[[Tensor], Tensor], frames: FrameStream, *, chunk: int, subsample: int, reach: int
    ) -> None:
        self._stem, self._frames, self._chunk, self._step = stem, frames, chunk, subsample
        self._margin = -(-reach // subsample)
        """Vectors on either side of a chunk whose frames its vectors see."""
        self._held, self._done = frames(torch.zeros(0)), 0
        """The frames from the margin before the next vector on; how many vectors have been given out."""
        self.delay = (chunk + self._margin) * subsample * frames.step + frames.delay
        """Seconds after the beginning of a chunk until its vectors are there."""

    @property
    def seconds(self) -> float:
        """Seconds of sound: after the last block, those of the recording."""
        return self._frames.seconds

    def __call__(
        self, samples: Float[Tensor, " samples"], *, last: bool = False
    ) -> Iterator[Float[Tensor, "vectors dim"]]:
        """The next chunks. ``last``: no block follows, and the last chunk may be shorter."""
        self._held = torch.cat([self._held, self._frames(samples, last=last)])
        while True:
            lead = min(self._done, self._margin)
            ready = -(-len(self._held) // self._step) - lead if last else self._whole_vectors(lead)
            num = min(ready, self._chunk)
            if num <= 0 or (num < self._chunk and not last):
                return
            vectors = self._stem(self._held[: (lead + num + self._margin) * self._step])
            yield vectors[lead : lead + num]
            self._done += num
            after = lead + num - min(self._done, self._margin)
            self._held = self._held[after * self._step :]

    def _whole_vectors(self, lead: int) -> int:
        """How many vectors can be computed of which all frames are there, and those of the margin."""
        return len(self._held) // self._step - lead - self._margin
