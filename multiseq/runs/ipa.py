"""Sounds in IPA: which letters of the International Phonetic Alphabet the labels of a known set stand for.

The sets are ARPAbet with or without stress (https://en.wikipedia.org/wiki/ARPABET), the 61 sounds of TIMIT,
and those of speech synthesis for English in the manner of X-SAMPA (https://en.wikipedia.org/wiki/X-SAMPA),
which espeak and the starter's clips have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["ipa_of"]

LEAST = 10
"""A set of labels is known if at least so many of them are in a table, and no label is missing there."""

NO_SOUND = {"", "sil", "sp", "spn", "pau", "epi", "h#", "<sil>", "silence", "_", "#", "cl", "vcl"}
"""Labels of silence, noise and closures, which are no sound of their own."""

_VOWELS = "aa ɑ ae æ ah ʌ ao ɔ aw aʊ ay aɪ eh ɛ er ɝ ey eɪ ih ɪ iy i ow oʊ oy ɔɪ uh ʊ uw u"
_CONSONANTS = (
    "b b ch tʃ d d dh ð f f g ɡ hh h jh dʒ k k l l m m n n ng ŋ p p r ɹ s s sh ʃ t t th θ v v w w y j z z "
    "zh ʒ"
)
_TIMIT = """
ax ə ax-h ə̥ axr ɚ ix ɨ ux ʉ dx ɾ nx ɾ̃ el l̩ em m̩ en n̩ eng ŋ̍ hv ɦ q ʔ
bcl b̚ dcl d̚ gcl ɡ̚ pcl p̚ tcl t̚ kcl k̚
"""
_SAMPA = """
p p b b t t d d k k g ɡ tS tʃ dZ dʒ f f v v T θ D ð s s z z S ʃ Z ʒ h h m m n n N ŋ l l r ɹ w w j j
i i i: iː I ɪ E ɛ e e { æ a a A ɑ A: ɑː Q ɒ 0 ɒ O ɔ O: ɔː V ʌ U ʊ u u u: uː @ ə 3 ɜ 3: ɜː 3r ɝ
eI eɪ aI aɪ OI ɔɪ aU aʊ oU oʊ @U əʊ i@ ɪə I@ ɪə e@ eə E@ ɛə U@ ʊə u@ ʊə
"""


def _table(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


ARPABET = _table(f"{_VOWELS} {_CONSONANTS} ax ə axr ɚ ix ɨ ux ʉ dx ɾ")
TIMIT = _table(f"{_VOWELS} {_CONSONANTS} {_TIMIT}")
SAMPA = _table(_SAMPA)

_STRESS = re.compile(r"([A-Za-z]+)([012])")


def ipa_of(labels: Collection[str]) -> Mapping[str, str]:
    """Label -> its letters in IPA, if all labels belong to one known set of sounds; otherwise nothing.

    >>> ipa_of("sil AA0 AA1 AH0 AH1 B CH D DH EH1 ER0 F".split())["AH0"]
    'ə'
    >>> ipa_of(["yes", "no"])
    {}
    """
    sounds = {label for label in labels if label.lower() not in NO_SOUND}
    for convert in (_of_arpabet, TIMIT.get, SAMPA.get):
        found = {label: convert(label) for label in sounds}
        known = {label: ipa for label, ipa in found.items() if ipa is not None}
        if len(known) == len(sounds) >= LEAST:
            return known
    return {}


def _of_arpabet(label: str) -> str | None:
    """ARPAbet: AH0 is the weak vowel, as in "about", and ER0 that of "butter"."""
    stressed = _STRESS.fullmatch(label)
    sound, stress = (stressed[1], stressed[2]) if stressed else (label, "")
    weak = {"ah": "ə", "er": "ɚ"} if stress == "0" else {}
    return weak.get(sound.lower()) or ARPABET.get(sound.lower())
