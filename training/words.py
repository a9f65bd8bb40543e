"""The words ioi-mini knows and the IOI sentences it is trained on.

A sentence follows Wang et al. 2022 (arXiv 2211.00593): two names are introduced, one of them comes again as
the subject (S), and the sentence stops where the other one (the indirect object, IO) should follow:

    When John and Mary went to the shops, John gave the bag to  ->  Mary

Some name pairs and some pairings of opening and scene are held out: training never shows them, `report.py`
tests on them.
"""

import json
import random
from dataclasses import dataclass

from utils.ioi import ANSWERS
from utils.models import IOI_MINI_FOLDER

_WORDS = json.loads((IOI_MINI_FOLDER.with_name("words.json")).read_text(encoding="utf-8"))
NAMES, PLACES, OBJECTS = _WORDS["names"], _WORDS["places"], _WORDS["objects"]

# An opening that is a subordinate clause needs a comma before the main clause; the others end in a full stop
# or "and".
CLAUSE_OPENINGS = ["When", "After", "While", "Today, when", "Yesterday, after"]
SENTENCE_OPENINGS = [
    "Then,",
    "Yesterday,",
    "One day,",
    "Last week,",
    "Today",
    "The friends",
    "Then the friends",
]
SCENES = [
    "went to the",
    "got to the",
    "walked to the",
    "came to the",
    "met at the",
    "were at the",
    "arrived at the",
    "were working at the",
    "had lunch at the",
    "had fun at the",
    "had a long day at the",
]
SENTENCE_JOINS = [".", ", and"]
VERBS = ["gave", "handed", "passed", "sent", "brought", "offered", "threw", "lent"]

# Every seventh pairing of opening and scene is held out, except those of the published prompts ("went to
# the").
_PAIRINGS = [
    (opening, scene) for scene in SCENES if scene != "went to the" for opening in CLAUSE_OPENINGS + SENTENCE_OPENINGS
]
HELD_OUT_PAIRINGS = _PAIRINGS[3::7]


def _held_out_name_pairs() -> list[tuple[str, str]]:
    """Return 5% of all name pairs, the published ones among them, each in alphabetical order."""
    rng = random.Random(1)
    pairs = {tuple(sorted(name.strip() for name in pair)) for pair in ANSWERS}
    wanted = len(NAMES) * (len(NAMES) - 1) // 2 // 20
    while len(pairs) < wanted:
        pairs.add(tuple(sorted(rng.sample(NAMES, 2))))
    return sorted(pairs)


HELD_OUT_NAME_PAIRS = _held_out_name_pairs()
_HELD_OUT_NAME_PAIR_SET = set(HELD_OUT_NAME_PAIRS)


@dataclass(frozen=True)
class Sentence:
    """An IOI sentence with its subject open: `names` in order, `template` with a gap `{subject}`."""

    names: tuple[str, str]
    template: str

    def text(self, subject: str) -> str:
        """Return the sentence with `subject` (any name) as the one who gives."""
        return self.template.format(subject=" " + subject)


def sample_name_pair(rng: random.Random, held_out: bool) -> tuple[str, str]:
    """Return two different names in random order, a pair that training does (or does not) show."""
    if held_out:
        first, second = rng.choice(HELD_OUT_NAME_PAIRS)
        return (first, second) if rng.random() < 0.5 else (second, first)
    while True:
        first, second = rng.sample(NAMES, 2)
        if tuple(sorted((first, second))) not in _HELD_OUT_NAME_PAIR_SET:
            return first, second


def sample_opening_and_scene(rng: random.Random, held_out: bool) -> tuple[str, str]:
    """Return an opening and a scene, a pairing that training does (or does not) show."""
    if held_out:
        return rng.choice(HELD_OUT_PAIRINGS)
    while True:
        pairing = rng.choice(CLAUSE_OPENINGS + SENTENCE_OPENINGS), rng.choice(SCENES)
        if pairing not in HELD_OUT_PAIRINGS:
            return pairing


def with_article(rng: random.Random, noun: str) -> str:
    """Return the noun with "the", or with "a" or "an"."""
    if rng.random() < 0.5:
        return "the " + noun
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def sample_sentence(rng: random.Random, held_out: bool = False) -> Sentence:
    """Return a random sentence; with `held_out`, one whose name pair and template training never shows."""
    first, second = sample_name_pair(rng, held_out)
    opening, scene = sample_opening_and_scene(rng, held_out)
    join = "," if opening in CLAUSE_OPENINGS else rng.choice(SENTENCE_JOINS)
    place, verb, gift = rng.choice(PLACES), rng.choice(VERBS), with_article(rng, rng.choice(OBJECTS))
    template = f"{opening} {first} and {second} {scene} {place}{join}{{subject}} {verb} {gift} to"
    return Sentence((first, second), template)
