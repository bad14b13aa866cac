"""Plans for recordings with TextGrids, for data folders of Kaldi, and for TIMIT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from multiseq.checks import one_of
from multiseq.data.archives import AudioFile
from multiseq.data.kaldi import SCP, folder_of, is_kaldi, utterances_of
from multiseq.data.readers import read_timit
from multiseq.data.recordings import AudioSegment, by_stem, recording_of_name
from multiseq.data.records import DataError
from multiseq.data.textgrids import Grid, GridError, Tier, grids_of, is_grid, is_grid_archive
from multiseq.data.timit import is_timit
from multiseq.init.columns import words_of
from multiseq.init.files import SPLIT_WORDS, groups_of
from multiseq.init.plan import Plan, TaskPlan, listed, table_name
from multiseq.init.tables import Wish, add_shares, add_sound, has_audio, plan_kaldi

__all__ = ["kaldi_folders", "plan_annotated", "plan_grids", "plan_of_kaldi", "plan_timit"]

GRIDS = 500
"""TextGrids that are looked at."""

ENTRIES = 5000
"""Files of a folder that are looked at."""

SILENCES = ("sil", "SIL", "<sil>", "silence", "pau", "h#", "<p:>", "sp")
"""Usual labels of silence."""

PHONES = {"phone", "phones", "phoneme", "phonemes", "phn", "mau", "segment", "segments", "sounds"}
"""Words in the names of tiers that are rather learned than others."""

LEAST_LABELLED = 0.5
"""Where less of the time has a label, intervals without text are taken for not annotated, not for silence."""

GROUPS = 5
"""From this number of folders on, no folder is in two splits."""


def plan_annotated(paths: Sequence[Path], wish: Wish, name: str) -> Plan | None:
    """A plan for TIMIT, for folders of Kaldi or for TextGrids; None if the paths are neither."""
    if len(paths) == 1 and is_timit(paths[0]):
        return plan_timit(paths[0], name)
    folders = kaldi_folders(paths)
    return plan_of_kaldi(folders, wish, name) if folders else plan_grids(paths, wish, name)


# --- TIMIT ----------------------------------------------------------------------------------------


def plan_timit(folder: Path, name: str) -> Plan:
    """A plan for a folder of TIMIT."""
    records = read_timit(folder, sa=False, reject=_pass)
    if not records.items:
        raise DataError(f"{folder}: got .phn files and no recording beside them, expected a.wav for a.phn")
    plan = Plan(name, "speech", {"format": "timit"})
    given, speakers = set(records.column("split")), sorted(set(records.column("speaker")))
    if len(given) > 1:
        plan.data |= {"file": folder, "split_column": "split"}
        plan.notes["split_column"] = "the folders TRAIN and TEST say it"
    else:
        plan.data["train"] = folder
        plan.data["group"] = "speaker"
        plan.notes["group"] = f"no speaker ({listed(speakers, 3)}) is in two splits"
        add_shares(plan, "recordings")
    plan.data["sa"] = False
    plan.notes["sa"] = "sa1 and sa2 are left out: all speakers read these two sentences"
    add_sound(plan, records.items[:20])
    plan.seen.append(("recordings", f"{len(records.items):,} with .phn files beside them -> THE ITEMS"))
    plan.seen.append(("phones", "61 labels, folded to 39 -> LABEL of each moment"))
    why = "a label for each moment: 61 labels, folded to 39 (Lee & Hon 1989; phones = 48 or 61 for others)"
    plan.tasks.append(TaskPlan("phones", {"output": "vector", "target": "class", "column": "phones"}, why))
    plan.adapter_options["subsample"] = 1  # sounds may be as short as 10 ms
    spec = {"output": "set", "target": "class", "column": "speaker"}
    who = "who speaks; draw splits without group = speaker for it (not learned; remove the # to learn it)"
    plan.tasks.append(TaskPlan("speaker", spec, who, False))
    return plan


# --- Kaldi ----------------------------------------------------------------------------------------


def kaldi_folders(paths: Sequence[Path]) -> dict[str, Path]:
    """Split -> its data folder of Kaldi, if all paths are such folders, or one path has them in it.

    Raises:
        DataError: They are several data sets.
    """
    folders = [folder_of(path) for path in paths if path.exists() and is_kaldi(path)]
    if not folders and len(paths) == 1 and paths[0].is_dir():
        folders = [p for p in sorted(paths[0].iterdir()) if p.is_dir() and is_kaldi(p)]
    elif len(folders) < len(paths):
        return {}
    groups = groups_of(folders)
    groups = [group for group in groups if len(group.splits) > 1] or groups
    if len(groups) > 1:
        shown = "; or ".join(" ".join(str(p) for p in group.splits.values()) for group in groups[:4])
        raise DataError(
            f"{paths[0]}: got {len(groups)} data sets, expected one; name the folders of one: {shown}"
        )
    return groups[0].splits if groups else {}


def plan_of_kaldi(folders: dict[str, Path], wish: Wish, name: str) -> Plan:
    """A plan for data folders of Kaldi, one for each split."""
    first = folders["train"].resolve()
    name = table_name(first.parent.name if first.name.lower() in SPLIT_WORDS else name)
    audio, known = _audio_of_kaldi(folders)
    plan = plan_kaldi(folders, wish, name)
    used = [folder.resolve() for folder in folders.values()]
    others = [p.name for p in sorted(first.parent.iterdir()) if p.is_dir() and is_kaldi(p) and p not in used]
    if len(used) > 1 and others:
        plan.odd.append(f"data folders beside these are not used: {listed(others)}")
    if audio is not None:
        plan.data["audio"] = audio
    if not known:
        plan.question = (
            f"where are the recordings? The paths of {folders['train'] / SCP} lead to no file. "
            'Set audio = "FOLDER", which they are relative to.'
        )
    else:
        add_sound(plan, known)
    return plan


def _audio_of_kaldi(folders: dict[str, Path]) -> tuple[Path | None, list[str | AudioFile | AudioSegment]]:
    """What the paths in wav.scp are relative to (None: their folder), and some recordings."""
    first = folders["train"].resolve()
    for audio in [None, *([Path()] if Path().resolve() in first.parents else []), *first.parents[:3]]:
        found: list[str | AudioFile | AudioSegment] = []
        for folder in folders.values():
            if not (folder / SCP).is_file() and audio not in (None, first.parent):
                break  # looking for names in all folders above could take long
            try:
                items = [one.item for one in islice(utterances_of(folder, audio, reject=_pass), 20)]
            except ValueError:  # a broken archive, which may have nothing to do with it
                break
            there = [item for item in items if _is_there(item)]
            if not there:
                break
            found += there
        else:
            return audio, found
    return None, []


def _pass(location: str, reason: str, raw: str = "") -> None:
    """Pass over a bad line: reading all data tells how many there are."""


def _is_there(item: str | AudioFile | AudioSegment) -> bool:
    file = item.file if isinstance(item, AudioSegment) else item
    return isinstance(file, AudioFile) or Path(file).is_file()


# --- TextGrids ------------------------------------------------------------------------------------


@dataclass
class _TierFacts:
    """What the tiers of one name hold, in the TextGrids that were looked at."""

    name: str
    num: int = 0
    seconds: float = 0.0
    labelled: float = 0.0
    empty: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, tier: Tier) -> None:
        self.num += 1
        for start, end, text, _ in tier.intervals or ():
            self.seconds += end - start
            self.empty += not text
            if text:
                self.labels[text] += 1
                self.labelled += end - start

    def rank(self) -> tuple[bool, float]:
        """Tiers of phones first, then those whose labels recur most."""
        named = bool(PHONES & set(words_of(self.name)))
        return named, self.labels.total() / max(len(self.labels), 1)


def plan_grids(paths: Sequence[Path], wish: Wish, name: str) -> Plan | None:
    """A plan for recordings with TextGrids; None if there are no TextGrids.

    Args:
        paths: A folder or an archive of TextGrids, and perhaps the folder or archive of the recordings.
        wish: What the user chose.
        name: The name of the data.
    """
    places = [path for path in paths if _has_grids(path)]
    if not places and not any(map(is_grid, paths)):
        return None
    where = places[0] if places else next(path for path in paths if is_grid(path)).parent
    others = [path for path in paths if path not in places and not is_grid(path)]
    sample = list(islice(grids_of(where), GRIDS))
    audio = _audio_of_grids(where, sample, others)
    plan = Plan(name, "speech", {"format": "textgrid", "train": where})
    add_shares(plan, "recordings")
    if audio is None:
        plan.question = (
            f"where are the recordings? None of those beside {where.name} is called {sample[0].name!r}. "
            'Set audio = "FOLDER".'
        )
    else:
        if audio != where:
            plan.data["audio"] = audio
        known = by_stem(audio)
        add_sound(plan, list(_recordings(sample[:20], known, audio)))
    tiers = _tiers(sample, plan)
    _add_tasks(plan, tiers, len(sample), wish)
    folders = {grid.name.rpartition("/")[0] for grid in sample}
    if len(folders) >= GROUPS:
        plan.data["group"] = "folder"
        plan.notes["group"] = f"no folder ({listed(sorted(folders), 3)}) is in two splits"
    return plan


def _has_grids(path: Path) -> bool:
    if not path.is_dir():
        return is_grid_archive(path)
    return any(is_grid(file) for file in islice(path.rglob("*"), ENTRIES))


def _audio_of_grids(where: Path, sample: Sequence[Grid], others: Sequence[Path]) -> Path | None:
    """The folder or archive that has most recordings of the TextGrids."""
    beside = sorted(where.resolve().parent.iterdir()) if not others else []
    beside = [p for p in beside if (p.is_dir() and has_audio(p)) or p.suffix == ".tar"]
    inner = [where] if where.is_dir() else []
    best, most = None, 0
    for place in [*others, *inner, *beside]:
        try:
            known = by_stem(place)
        except ValueError:  # a broken archive, which may have nothing to do with it
            continue
        num = len(list(_recordings(sample, known, place)))
        if num > most:
            best, most = place, num
        if num == len(sample):
            break
    return best


def _recordings(
    sample: Iterable[Grid], known: dict[str, list[str | AudioFile]], audio: Path
) -> Iterable[str | AudioFile]:
    for grid in sample:
        try:
            yield recording_of_name(known, audio, grid.name)
        except ValueError:
            continue


def _tiers(sample: Sequence[Grid], plan: Plan) -> list[_TierFacts]:
    found: dict[str, _TierFacts] = {}
    points = set[str]()
    wrong: list[str] = []
    for grid in sample:
        try:
            for tier in grid.tiers():
                if tier.intervals is None:
                    points.add(tier.name)
                else:
                    found.setdefault(tier.name, _TierFacts(tier.name)).add(tier)
        except GridError as error:  # reading all data says how many there are
            wrong.append(f"{grid.location}:{error.line}: {error.reason}")
    if len(wrong) == len(sample):
        raise DataError(wrong[0])
    plan.seen.append(("recordings", f"those of {len(sample):,} TextGrids -> THE ITEMS"))
    if points:
        plan.odd.append(f"tiers of points in time are not read: {listed(sorted(points))}")
    return sorted((tier for tier in found.values() if tier.labels), key=_TierFacts.rank, reverse=True)


def _add_tasks(plan: Plan, tiers: Sequence[_TierFacts], num: int, wish: Wish) -> None:
    for label in wish.labels:
        one_of(label, [tier.name for tier in tiers], "--label")
    active = [tier for tier in tiers if tier.name in wish.labels] or list(tiers[:1])
    for tier in tiers:
        learned = tier in active
        often = listed([label for label, _ in tier.labels.most_common()])
        why = f"a label for each moment: {len(tier.labels):,} different, {often}"
        lacking = f"; {num - tier.num:,} TextGrids lack this tier" if tier.num < num else ""
        more = "" if learned else " (not learned; remove the # to learn it too)"
        spec = {"output": "vector", "target": "class", "column": tier.name}
        plan.tasks.append(TaskPlan(table_name(tier.name), spec, why + lacking + more, learned))
        role = "LABEL of each moment" if learned else "left out (a comment in the recipe)"
        plan.seen.append((tier.name, f"tier: {len(tier.labels):,} different labels{lacking} -> {role}"))
    if not tiers:
        plan.question = "what should be learned? No tier of intervals has a label."
        return
    first = active[0]
    share = 1 - first.labelled / max(first.seconds, 1e-9)
    if share > LEAST_LABELLED:
        plan.odd.append(f"{share:.0%} of the time of {first.name!r} has no label, which is missing")
    elif first.empty:
        plan.data["silence"] = next((label for label in SILENCES if label in first.labels), "sil")
        plan.notes["silence"] = (
            f"{first.empty:,} intervals of {first.name!r} have no text; remove this line if they are no "
            "silence"
        )
