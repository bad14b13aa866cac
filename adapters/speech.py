"""Speech: a recording becomes an ordered set of vectors, one every 10, 20 or 40 ms.

    vector = norm(W gelu(conv(gelu(conv(x))))),   x = (log-mel - mean) / std of the training data

The frames are a log-mel spectrogram (`multiseq.adapters._speech.log_mel`). Mean and standard deviation of
each mel band come from the training data and not from each recording: the mean of a short clip depends
mostly on what is said in it, and a task may ask how loud somebody speaks. To prepare for other microphones
and distances, :meth:`SpeechAdapter.augment` changes the gain.

**Time**: a recording consists of spans of `vector_seconds`; the last span may be shorter. Vector t stands
for span t, and its label is the label at the centre of the span.

Axes: vectors, frames (10 ms), mels (bands), dim.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int16
from numpy.typing import NDArray
from torch import Tensor, nn

from multiseq.adapters._speech.audio import (
    HIGHEST_RATE,
    LOWEST_RATE,
    MOST_CHANNELS,
    AudioFile,
    AudioSegment,
    Recording,
    content_of,
    open_audio,
)
from multiseq.adapters._speech.log_mel import (
    Stretches,
    from_int16,
    hop_of,
    log_mel,
    log_mel_blocks,
    log_mel_of,
    resample,
    resample_blocks,
    resampled_length,
    spec_augment,
    to_int16,
)
from multiseq.adapters._speech.packed_conv import ConvStem
from multiseq.adapters._speech.pauses import cut_at_pauses
from multiseq.adapters._speech.segments import labels_at
from multiseq.adapters._speech.shown import show
from multiseq.adapters._speech.stem_features import stem_features
from multiseq.adapters._speech.stream import FrameStream, VectorStream
from multiseq.adapters._speech.surroundings import add_noise, check_folder, drawn, reverberate
from multiseq.checks import (
    MANY,
    WIDEST,
    check_labels,
    check_list,
    check_number,
    check_whole_number,
    config_of,
    json_asset,
    reading,
    training_items,
)
from multiseq.data.recordings import AUDIO
from multiseq.labels import are_segments
from multiseq.nn.dropout import Dropout
from multiseq.nn.first_weights import repeatable
from multiseq.pretrained.stem import PretrainedStem, SpeechArchitecture
from multiseq.protocols import Inputs, Level, LongItem, Mark, Part
from multiseq.vectors import VectorSets, order_of

__all__ = ["AudioFile", "AudioSegment", "SpeechAdapter", "SpeechExample"]

FITTED_ON = 500
"""Most training recordings from which `fit` computes mean and standard deviation, evenly spaced."""
OPTIONS = (
    *("dim", "sample_rate", "subsample", "chunk_seconds", "max_seconds"),
    *("specaugment", "time_mask", "speeds", "gain", "noise", "rooms", "channel", "dropout"),
)
"""The constructor's arguments except mean, standard deviation and pretrained."""
LONGEST = 4 * 3600.0
"""Seconds. Longest recording by default, because a small file can hold days of silence."""
LONG = 60.0
"""Seconds. A longer recording is cut at pauses where a text is wanted (`SpeechAdapter.in_pieces`)."""
PIECE = 30.0
"""Seconds. The longest piece of it, unless ``chunk_seconds`` says otherwise."""
BANDS = 80
"""Mel bands of the spectrogram that is shown, where the stem reads samples."""
LEAST_STD = 1.0
"""Smallest standard deviation of a band, in nepers (natural logarithm) of power. A band can be silent in all
training data, as telephone speech is above 4 kHz; without this limit, later sound in it would become huge."""


@dataclass(frozen=True)
class SpeechExample:
    """A recording, or one chunk of a long recording.

    Args:
        log_mel: Frames of the log-mel spectrogram, not normalised. They do not depend on the training
            data, so that they can be cached. For a pretrained stem what it reads (`stem_features`): frames,
            or a row for each sample.
        samples: Samples at the adapter's rate; None if only their features are augmented.
        seconds: Duration of the chunk at the recorded speed.
        start: Number of vectors of the recording before the chunk.
        total: Number of vectors of the whole recording.
        speed: Speed of the features; 1.0 is the recorded speed.
        source: The recording's name in messages.
        augmented: Normalised and augmented frames; None before :meth:`SpeechAdapter.augment`.
        outputs: The outputs of a frozen stem, if they are computed once (:meth:`SpeechAdapter.fix_stem`).
        stem: The digest of this stem's weights.
    """

    log_mel: Float[Tensor, "frames mels"]
    samples: Int16[Tensor, " samples"] | None
    seconds: float
    start: int
    total: int
    speed: float
    source: str
    augmented: Float[Tensor, "other_frames mels"] | None = None
    outputs: Float[Tensor, "outputs inner"] | None = None
    stem: str = ""

    @property
    def num_rows(self) -> int:
        """The number of frames (or samples), after augmentation if there was one."""
        return len(self.log_mel if self.augmented is None else self.augmented)


class SpeechAdapter(nn.Module):
    """Turns each recording into an ordered set of vectors. :meth:`fit` builds the adapter.

    An item is the path of an audio file (wav, flac, ogg, mp3), an `AudioFile` in an archive, an
    `AudioSegment` of one of these, or a tuple ``(samples, rate)`` with the rate in Hz. Several channels are
    averaged, unless ``channel`` chooses one. A recording without samples gives an empty set.

    Args:
        mean, std: Mean and standard deviation of the logarithmic power of each mel band in the training
            data.
        dim: Width of the vectors.
        sample_rate: Hz. All audio is resampled to this rate.
        subsample: Frames of 10 ms per vector: 1, 2 or 4.
        chunk_seconds: Cut longer recordings into sets of equal length, at most this many seconds; None:
            never cut.
        max_seconds: A recording of more seconds raises ValueError; None: no limit. A minute takes 2 MB of
            memory.
        specaugment: Whether :meth:`augment` applies SpecAugment, which hides frequency bands and stretches
            of time (Park et al. 2019, https://arxiv.org/abs/1904.08779: the policy "Switchboard mild"
            without time warping).
        time_mask: Seconds: the widest stretch of time that SpecAugment hides, two of which are drawn. Shorter
            than a word is right where every word must be heard, as in short commands.
        speeds: Speed perturbation: :meth:`augment` plays a recording at one of these speeds (Ko et al. 2015,
            https://www.danielpovey.com/files/2015_interspeech_augmentation.pdf: 0.9, 1.0, 1.1).
        gain: Decibels by which :meth:`augment` makes a recording louder or softer, at most.
        noise: A folder of recordings. :meth:`augment` adds one of them to every second recording, 5 to 20
            decibels softer than it.
        rooms: A folder of impulse responses of rooms. :meth:`augment` lets every second recording sound as in
            one of them (Ko et al. 2017).
        channel: The number of the channel to take of a recording with several; None: their mean. A recording
            with one channel is taken as it is.
        dropout: Dropout probability on the vectors, in training only.
        pretrained: The architecture of a pretrained stem (:func:`multiseq.pretrained_speech` makes an adapter
            with its weights). It has a sample rate, features and normalisation of its own: `with_stem` gives
            the first arguments.

    Raises:
        ValueError: An argument outside its range.

    Example:
        >>> adapter = SpeechAdapter.fit([(torch.randn(4000) / 10, 16000)], dim=8, n_mels=20)
        >>> [example] = adapter.prepare((torch.zeros(1601), 16000))
        >>> adapter(adapter.collate([example]))
        VectorSets(1 sets, 6 vectors of 8, ordered)
    """

    modality = "speech"
    kept = (SpeechExample,)
    suffixes = AUDIO
    json_form = '"a.wav" or {"file": "a.wav"}'

    @repeatable
    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        dim: int,
        *,
        sample_rate: int = 16000,
        subsample: int = 2,
        chunk_seconds: float | None = None,
        max_seconds: float | None = LONGEST,
        specaugment: bool = True,
        time_mask: float = 0.7,
        speeds: Sequence[float] = (1.0,),
        gain: float = 6.0,
        noise: str | os.PathLike[str] | None = None,
        rooms: str | os.PathLike[str] | None = None,
        channel: int | None = None,
        dropout: float = 0.1,
        pretrained: SpeechArchitecture | None = None,
    ) -> None:
        super().__init__()
        _check_statistics(mean, std)
        if isinstance(speeds, str) or not isinstance(speeds, Sequence):
            raise ValueError(f"speeds: got {speeds!r}, expected a list of numbers from 0.5 to 2")
        check_number("dropout", dropout, 0.0, 1.0)
        self.n_mels, self.dim, self.sample_rate, self.subsample = len(mean), dim, sample_rate, subsample
        self.chunk_seconds, self.max_seconds = chunk_seconds, max_seconds
        self.specaugment, self.time_mask = specaugment, time_mask
        self.speeds, self.gain, self.channel = tuple(speeds), gain, channel
        self.noise, self.rooms = (None if x is None else os.fspath(x) for x in (noise, rooms))
        self.pretrained = pretrained
        self._check()
        if pretrained is not None:
            self._check_stem(pretrained)
        # These are not buffers, because loader workers use them on the CPU.
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self.stem = (
            ConvStem(self.n_mels, dim, subsample)
            if pretrained is None
            else PretrainedStem(pretrained, dim, subsample)
        )
        self.dropout = Dropout(dropout)
        self._fixed = ""

    def _check(self) -> None:
        check_whole_number("dim", self.dim, 1, WIDEST)
        check_whole_number("sample_rate", self.sample_rate, LOWEST_RATE, HIGHEST_RATE)
        if self.subsample not in (1, 2, 4):
            raise ValueError(f"subsample: got {self.subsample!r}, expected 1, 2 or 4")
        if not self.speeds:
            raise ValueError(f"speeds: got {self.speeds}, expected one or more, from 0.5 to 2")
        for speed in self.speeds:
            check_number("speeds", speed, 0.5, 2.0)
        check_number("time_mask", self.time_mask, 0.0)
        check_number("gain", self.gain, 0.0)
        if self.channel is not None:
            check_whole_number("channel", self.channel, 0, MOST_CHANNELS - 1)
        check_number("chunk_seconds", self.chunk_seconds, 0.0, none="cut nothing")
        check_number("max_seconds", self.max_seconds, 0.0, none="take any")
        if self.chunk_seconds is not None and self.chunk_seconds < self.vector_seconds:
            raise ValueError(
                f"chunk_seconds: got {self.chunk_seconds}, expected at least a vector's "
                f"{self.vector_seconds} s, or None to cut nothing"
            )

    def _check_stem(self, pretrained: SpeechArchitecture) -> None:
        if self.sample_rate != pretrained.sample_rate:
            raise ValueError(
                f"sample_rate: got {self.sample_rate}, but the pretrained model has "
                f"{pretrained.sample_rate}; leave sample_rate out"
            )
        if self.n_mels != (pretrained.num_mels or 1):
            expected = pretrained.num_mels or 1
            raise ValueError(f"mean, std: got {self.n_mels} numbers, expected {expected}, as the model reads")
        if pretrained.longest is None:
            return
        # The model knows no more positions. A recording that is played more slowly has more of them.
        most = pretrained.longest / pretrained.rows_per_frame / 100 * min(1.0, *self.speeds)
        self.chunk_seconds = most if self.chunk_seconds is None else self.chunk_seconds
        if self.chunk_seconds > most:
            raise ValueError(
                f"chunk_seconds: got {self.chunk_seconds}, expected at most {most:g}, because the pretrained "
                "model has no more positions (at the slowest of `speeds`); leave it out, or set less"
            )

    @classmethod
    def with_stem(cls, pretrained: SpeechArchitecture, *, dim: int, **options: Any) -> SpeechAdapter:
        """An adapter with a pretrained stem, whose weights are random. It needs no recordings.

        Args:
            pretrained: The architecture.
            dim: Width of the vectors.
            options: Further arguments of the constructor.
        """
        width = pretrained.num_mels or 1
        given = {"sample_rate": pretrained.sample_rate, **options}
        adapter = cls([0.0] * width, [1.0] * width, dim, pretrained=pretrained, **given)
        adapter._check_folders()
        return adapter

    def _check_folders(self) -> None:
        for name in ("noise", "rooms"):  # a saved adapter may be where these folders are not
            if getattr(self, name) is not None:
                check_folder(name, getattr(self, name))

    @classmethod
    def fit(
        cls,
        items: Iterable[Any],
        *,
        dim: int,
        sample_rate: int = 16000,
        n_mels: int = 80,
        **options: Any,
    ) -> SpeechAdapter:
        """Build an adapter that is ready to be trained. Mean and standard deviation come from the items.

        Args:
            items: Training recordings.
            dim: Width of the vectors.
            sample_rate: Hz. All audio is resampled to this rate.
            n_mels: Number of mel bands per frame.
            options: Further arguments of the constructor.

        Raises:
            ValueError: A recording cannot be read (the message gives its number), or all are empty.
        """
        check_whole_number("n_mels", n_mels, 1, MANY)
        adapter = cls([0.0] * n_mels, [1.0] * n_mels, dim, sample_rate=sample_rate, **options)
        adapter._check_folders()
        given = list(training_items(items))
        count, total, squares = 0, torch.zeros(n_mels).double(), torch.zeros(n_mels).double()
        for number in range(0, len(given), -(-len(given) // FITTED_ON) or 1):
            try:
                recording = open_audio(given[number], adapter.max_seconds, adapter.channel)
                stretch, length = adapter._resampled(recording)
                for block in log_mel_blocks(stretch, length, sample_rate, n_mels):
                    frames = block.double()
                    count += len(frames)
                    total, squares = total + frames.sum(0), squares + frames.square().sum(0)
            except ValueError as error:
                raise ValueError(f"item {number}: {error}") from error
        if not count:
            raise ValueError(f"items: got {len(given)} and no sample in them, expected audio to learn from")
        adapter.mean = (total / count).float()
        variance = squares / count - (total / count).square()
        adapter.std = variance.clamp(min=LEAST_STD**2).sqrt().float()
        return adapter

    @property
    def vector_seconds(self) -> float:
        """Seconds from one vector to the next."""
        return self._vector_samples / self.sample_rate

    @property
    def _vector_samples(self) -> int:
        return self.subsample * hop_of(self.sample_rate)

    @staticmethod
    def check_item(item: Any) -> None:
        """Raise ValueError if a recording cannot be opened, or holds less sound than it announces."""
        open_audio(item)

    @property
    def longest(self) -> str | None:
        """The longest recording that is not cut, for error messages."""
        return f"{self.chunk_seconds:g} seconds" if self.chunk_seconds else None

    # --- on the CPU, in loader workers ------------------------------------------------------------

    def prepare(self, item: Any) -> list[SpeechExample]:
        """One example, or one per chunk of a long recording.

        Raises:
            ValueError: A file is missing or is not audio, or the samples are invalid. The message names it.
        """
        return self._prepared(open_audio(item, self.max_seconds, self.channel))

    def in_pieces(self, item: Any) -> list[SpeechExample] | LongItem:
        """As :meth:`prepare`. A recording of more than a minute is cut at pauses, and read piece by piece.

        A piece has at most ``chunk_seconds``, by default half a minute. It ends where the recording is
        quietest in the second half of this time.

        Raises:
            ValueError: As in `prepare`; in a long recording some errors come when its pieces are read.
        """
        recording = open_audio(item, self.max_seconds, self.channel)
        longest = self.chunk_seconds or PIECE
        if recording.length <= max(LONG, longest) * recording.rate:
            return self._prepared(recording)
        return LongItem(lambda: self._pieces_of(recording, longest))

    def _pieces_of(self, recording: Recording, longest: float) -> Iterator[SpeechExample]:
        stretch, length = self._resampled(recording)
        step, total = self._vector_samples, -(-length // self._vector_samples)
        most = int(longest / self.vector_seconds + 1e-6) * step
        for first, samples in cut_at_pauses(
            stretch, length, longest=most, step=step, sample_rate=self.sample_rate
        ):
            held = Stretches([samples])
            piece = self._example(held, 0, len(samples), total, recording.name)
            yield replace(piece, start=first // step)

    def _prepared(self, recording: Recording) -> list[SpeechExample]:
        stretch, length = self._resampled(recording)
        total = -(-length // self._vector_samples)
        step = max(total, 1)
        if self.chunk_seconds is not None:
            chunks = -(-total // int(self.chunk_seconds / self.vector_seconds + 1e-6)) or 1
            step = max(-(-total // chunks), 1)
        width, name = self._vector_samples, recording.name
        ends = [(a * width, min((a + step) * width, length)) for a in range(0, total or 1, step)]
        return [self._example(stretch, first, last, total, name) for first, last in ends]

    def _resampled(self, recording: Recording) -> tuple[Stretches, int]:
        """The samples at the adapter's rate, to be read from beginning to end, and their number."""
        ratio = Fraction(recording.rate, self.sample_rate)
        blocks = resample_blocks(recording.blocks(), recording.length, ratio)
        return Stretches(blocks), resampled_length(recording.length, ratio)

    def _example(self, stretch: Stretches, first: int, last: int, total: int, name: str) -> SpeechExample:
        samples = torch.empty(last - first, dtype=torch.int16) if self._changes_samples else None

        def read(begin: int, end: int) -> Tensor:
            chunk = stretch(first + begin, first + end)
            if samples is not None:
                samples[begin:end] = to_int16(chunk)
            return chunk

        if self.pretrained is None:
            frames = log_mel_of(read, last - first, self.sample_rate, self.n_mels)
        else:
            frames = stem_features(read(0, last - first), self.pretrained)
        start, seconds = first // self._vector_samples, (last - first) / self.sample_rate
        example = SpeechExample(frames, samples, seconds, start, total, 1.0, name)
        return replace(example, outputs=self._outputs(example), stem=self._fixed) if self._fixed else example

    @torch.no_grad()
    def _outputs(self, example: SpeechExample) -> Float[Tensor, "outputs inner"]:
        """The outputs of a frozen stem."""
        assert isinstance(self.stem, PretrainedStem)
        rows = self.features(example).to(self.stem.out.weight.device)
        outputs: Tensor = self.stem.encode(rows, [len(rows)]).values
        return outputs.cpu()

    def fix_stem(self, frozen: bool, *, once: bool = True) -> str:
        """Say whether training leaves the pretrained stem as it is. Then it needs no dropout.

        :meth:`prepare` computes the outputs of a frozen stem, and training and predictions read them, unless
        augmentation changes what the stem reads.

        Args:
            frozen: Whether no pretrained weight of the stem is trained.
            once: False: the outputs are computed in each step nevertheless.

        Returns:
            What becomes of the outputs, for the user; "" if the stem is not frozen.
        """
        if not isinstance(self.stem, PretrainedStem):
            return ""
        self.stem.frozen = frozen
        self.stem.train(self.stem.training)
        changed = [name for name, is_on in self._augmentation.items() if is_on]
        self._fixed = self.stem.digest() if frozen and once and not changed else ""
        if not frozen:
            return ""
        if self._fixed:
            return "the frozen stem reads each recording once, not in each step"
        why = f", because of {', '.join(changed)}: without, once" if changed else ""
        return f"the frozen stem reads recordings in each step{why}"

    def stream(self, rate: int, chunk: int) -> VectorStream:
        """The vectors of one recording of which the samples come block by block (`multiseq.Stream`).

        Args:
            rate: Hz, of the samples.
            chunk: The number of vectors that are given out together.
        """
        if not isinstance(self.stem, ConvStem):
            raise ValueError("stream: got a pretrained stem, which reads whole recordings; expected none")
        frames = FrameStream(rate, self.sample_rate, self.n_mels)
        sizes = {"chunk": chunk, "subsample": self.subsample, "reach": self.stem.reach}
        return VectorStream(self._vectors_of, frames, **sizes)

    def _vectors_of(self, frames: Float[Tensor, "frames mels"]) -> Float[Tensor, "vectors dim"]:
        """The stem's vectors of frames that are not normalised, without regard to others."""
        inputs = self._inputs([self._normalised(frames)])
        return self.forward(inputs.to(self.stem.norm.weight.device)).values

    def features(self, example: SpeechExample) -> Float[Tensor, "frames mels"]:
        """The normalised frames of an example, the stem's input. Augmented if the example is augmented."""
        return self._normalised(example.log_mel) if example.augmented is None else example.augmented

    def _normalised(self, frames: Float[Tensor, "frames mels"]) -> Float[Tensor, "frames mels"]:
        return (frames - self.mean) / self.std

    def augment(self, example: SpeechExample, generator: torch.Generator) -> SpeechExample:
        """Change speed, surroundings and gain at random, and apply SpecAugment.

        Hidden bands and times get the mean.
        """
        if self._fixed:
            return example
        which, gain = torch.rand(2, generator=generator).tolist()
        speed = self.speeds[int(which * len(self.speeds))]
        frames = example.log_mel
        if example.samples is None:
            speed = 1.0
        else:
            samples = from_int16(example.samples)
            changed = resample(samples, Fraction(speed)) if speed != 1 else samples
            changed = self._elsewhere(changed, generator)
            if changed is not samples:
                frames = self._frames(changed)
        # To multiply the samples by a factor is to add a constant to the log power (except for the floor).
        features = self._normalised(frames)
        if self.pretrained is None:  # pretrained models scale what they read
            features = features + (2 * gain - 1) * self.gain * math.log(10) / 10 / self.std
        if self.specaugment:
            features = spec_augment(features, generator, round(self.time_mask * 100 * self._rows_per_frame))
        return replace(example, augmented=features, speed=speed)

    def _frames(self, samples: Tensor) -> Float[Tensor, "frames mels"]:
        """What the stem reads of a recording, not normalised."""
        if self.pretrained is None:
            return log_mel(samples, self.sample_rate, self.n_mels)
        return stem_features(samples, self.pretrained)

    @property
    def _rows_per_frame(self) -> int:
        """The rows of an example's features in 10 ms: 1, or as many as samples."""
        return 1 if self.pretrained is None else self.pretrained.rows_per_frame

    @property
    def _changes_samples(self) -> bool:
        """Whether augmentation needs the samples, because it changes more than their features."""
        return any(is_on for name, is_on in self._augmentation.items() if name != "specaugment")

    @property
    def _augmentation(self) -> dict[str, bool]:
        """Which options change what a pretrained stem reads."""
        elsewhere = {name: getattr(self, name) is not None for name in ("noise", "rooms")}
        return {"specaugment": self.specaugment, "speeds": self.speeds != (1.0,), **elsewhere}

    def _elsewhere(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        """Samples as they sound in a room, and with noise: each half of the time."""
        if self.rooms is not None:
            whether, which = torch.rand(2, generator=generator).tolist()
            if whether < 0.5:
                samples = reverberate(samples, drawn(self.rooms, self.sample_rate, which))
        if self.noise is not None:
            whether, which, place, ratio = torch.rand(4, generator=generator).tolist()
            if whether < 0.5 and len(samples):
                samples = add_noise(samples, drawn(self.noise, self.sample_rate, which), place, ratio)
        return samples

    def num_vectors(self, example: SpeechExample) -> int:
        """ceil(frames / subsample)."""
        return -(-example.num_rows // (self.subsample * self._rows_per_frame))

    def align(self, labels: Any, example: SpeechExample) -> list[Any]:
        """One label per vector of this chunk; None if a vector has no label.

        Args:
            labels: Labels of the whole recording: one label per vector, or segments ``(start, end,
                label)`` in seconds. A vector gets the segment with ``start <= centre < end``.
            example: The chunk. Its speed is taken into account.

        Raises:
            ValueError: Segments overlap, end before they start, or are not in seconds; or the numbers of
                labels and vectors differ.
        """
        form, place = "(start, end, label) in seconds", f"{example.source}: labels"
        check_list(labels, f"a list of {form}, or of one label a vector", place)
        centres = self._centres(example)
        if are_segments(labels):
            return labels_at(centres, labels, example.total * self.vector_seconds, example.source)
        check_labels(labels, example.total, "vector", f" of {self.vector_seconds} s, or {form}", place)
        numbers = (centres / self.vector_seconds).astype(int)
        return [labels[i] for i in numbers.clip(max=example.total - 1).tolist()]

    def edges(self, example: SpeechExample) -> list[float]:
        """Seconds of the recording at which each vector of this chunk begins, and the last one ends."""
        edges: list[float] = (self._edges(example) + example.start * self.vector_seconds).tolist()
        return edges

    def _edges(self, example: SpeechExample) -> NDArray[np.float64]:
        """The same, in seconds of the chunk at its recorded speed."""
        edges = np.arange(self.num_vectors(example) + 1) * self.vector_seconds * example.speed
        shortened: NDArray[np.float64] = np.minimum(edges, example.seconds)
        return shortened

    def _centres(self, example: SpeechExample) -> NDArray[np.float64]:
        """The centre of each vector's span, in seconds of the recording at its recorded speed."""
        edges = self._edges(example)
        centres: NDArray[np.float64] = (edges[1:] + edges[:-1]) / 2
        return centres + example.start * self.vector_seconds

    def names(self, example: SpeechExample) -> list[str]:
        """The time of each vector's centre: "0.03 s"."""
        return [f"{round(t, 3)} s" for t in self._centres(example).tolist()]

    def collate(self, examples: Sequence[SpeechExample]) -> Inputs:
        """Pack examples: the frames of all examples, and the rows that each convolution reads."""
        known = [example.outputs for example in examples if example.stem == self._fixed]
        outputs = [of_one for of_one in known if of_one is not None]
        if not outputs or len(outputs) < len(examples):
            return self._inputs([self.features(example) for example in examples])
        assert isinstance(self.stem, PretrainedStem)
        lengths, read = self.stem.taps([example.num_rows for example in examples])
        return Inputs(lengths, {"outputs": torch.cat(outputs), "positions": order_of(lengths), "taps": read})

    def _inputs(self, features: Sequence[Tensor]) -> Inputs:
        rows = [len(of_example) for of_example in features]
        packed = torch.cat([torch.zeros(0, self.n_mels), *features])  # it needs at least one tensor
        if isinstance(self.stem, ConvStem):
            lengths, taps = self.stem.taps(rows)
            return Inputs(lengths, {"features": packed, "positions": order_of(lengths), **taps})
        lengths, read = self.stem.taps(rows)
        tensors = {"features": packed, "positions": order_of(lengths), "taps": read}
        return Inputs(lengths, tensors, {"rows": rows})

    # --- for `multiseq.training.item_cache` ----------------------------------------------------------------

    def prepared_by(self) -> dict[str, Any]:
        """The settings that the result of `prepare` depends on. Mean and deviation are not among them."""
        names = ("sample_rate", "n_mels", "subsample", "chunk_seconds")
        settings = {**{name: getattr(self, name) for name in names}, "samples": self._changes_samples}
        settings |= {} if self.channel is None else {"channel": self.channel}
        if self.pretrained is None:
            return settings
        reads = {name: getattr(self.pretrained, name) for name in ("num_mels", "normalize", "longest")}
        return {**settings, "pretrained": reads, **({"stem": self._fixed} if self._fixed else {})}

    def content(self, item: Any) -> Any:
        """The name and the bytes of a file (an example keeps the name for messages), or the samples."""
        return content_of(item)

    # --- for the command line and baselines --------------------------------------------------------

    def parse(self, text: str, folder: Path) -> str:
        """Parse an argument of the command line: the path of a recording."""
        return str(folder / text)

    @staticmethod
    def stand_in(item: Any) -> str:
        """A short stand-in for a recording in an example of a command."""
        return "YOUR.wav"

    def show(
        self, item: Any, examples: Sequence[SpeechExample], marks: Sequence[Mark], focus: int | None
    ) -> list[Part]:
        """The spectrogram with the labels under it, and the recording as the model hears it."""
        rate, seconds = self.sample_rate, self.vector_seconds
        return show(
            item,
            self._spectrogram(examples),
            marks,
            focus,
            sample_rate=rate,
            vector_seconds=seconds,
            channel=self.channel,
        )

    def baseline_vectors(self, example: SpeechExample) -> list[Any]:
        """For each vector the mean of its frames."""
        frames = self._baseline_frames(example)
        return [frames[i : i + self.subsample].mean(0) for i in range(0, len(frames), self.subsample)]

    def baseline_item(self, item: Any, examples: Sequence[SpeechExample], level: Level) -> Any:
        """The mean of all frames of an item."""
        frames = np.concatenate([self._baseline_frames(example) for example in examples])
        return frames.mean(0) if len(frames) else np.zeros(frames.shape[1])

    def _baseline_frames(self, example: SpeechExample) -> NDArray[np.float32]:
        reads_frames = self._rows_per_frame == 1
        frames: NDArray[np.float32] = (
            self.features(example) if reads_frames else self._spectrogram([example])
        ).numpy()
        return frames

    def _spectrogram(self, examples: Sequence[SpeechExample]) -> Float[Tensor, "frames mels"]:
        """The log-mel frames of an item, also if the stem reads samples."""
        rows = torch.cat([example.log_mel for example in examples])
        return rows if self._rows_per_frame == 1 else log_mel(rows[:, 0], self.sample_rate, BANDS)

    # --- on the device ----------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One ordered set per example, with vectors of width ``dim``."""
        tensors = inputs.tensors
        if isinstance(self.stem, ConvStem):
            vectors = self.stem(tensors["features"], tensors)
        elif "outputs" in tensors:
            vectors = self.stem.read(tensors["outputs"], tensors["taps"])
        else:
            vectors = self.stem(tensors["features"], inputs.host["rows"], tensors["taps"])
        return VectorSets(self.dropout(vectors), inputs.lengths, inputs.tensors["positions"])

    def read(self, sets: VectorSets, inputs: Inputs) -> VectorSets:
        """All vectors: every vector can have a label."""
        return sets

    # --- to disk and back -------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments except mean and standard deviation."""
        values = {name: getattr(self, name) for name in OPTIONS}
        values |= {"speeds": list(self.speeds), "dropout": self.dropout.p}
        return values if self.pretrained is None else {**values, "pretrained": self.pretrained.config()}

    def assets(self) -> dict[str, str]:
        """``mels.json`` with the mean and standard deviation of each mel band."""
        return {"mels.json": json.dumps({"mean": self.mean.tolist(), "std": self.std.tolist()})}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> SpeechAdapter:
        """Rebuild the adapter from :meth:`config` and :meth:`assets`. Its weights are new."""
        options = config_of(config, (*OPTIONS, "pretrained"))
        statistics = json_asset(assets, "mels.json", lambda given: (given["mean"], given["std"]))
        with reading("mels.json"):
            _check_statistics(*statistics)
        with reading("config"):
            if "pretrained" in options:
                options["pretrained"] = SpeechArchitecture.from_config(options["pretrained"])
            return cls(*statistics, **options)


def _check_statistics(mean: Any, std: Any) -> None:
    for name, values in (("mean", mean), ("std", std)):
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ValueError(f"{name}: got {type(values).__name__}, expected a number for each mel")
        for value in values:
            check_number(name, value, -math.inf if name == "mean" else 1e-9)
    if len(mean) != len(std) or not mean:
        raise ValueError(f"mean, std: got {len(mean)} and {len(std)} numbers, expected one for each mel")
