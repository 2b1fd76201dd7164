"""Section names: which line, or start of a line, is a heading, and what the section is called.

A heading is recognised by form and vocabulary together, because clinical notes are full of
``label: value`` pairs that head nothing ("BP: 120/80", "Dr. Smith:", "Sodium: 140"):

- ``HEADING:`` in capitals, unless a value of numbers follows or the label is a short one;
- ``Heading:`` or ``Heading -`` in any case when it holds a word that names sections ("history");
- a short line of capitalised words with a colon and nothing after it, or underlined;
- a short line without a colon that consists of words of section names only.

Body systems ("HEENT:", "Lungs:") stand within a review of systems or an examination: they are
labels of lines and do not begin a section of their own.
"""

from __future__ import annotations

import re

HEADING = re.compile(
    r"(?:[#*•>]{1,3}\s{0,3}|(?:\d{1,2}|[IVX]{1,4})\s?[.)]\s{1,3})?"
    r"(?P<name>[^\W\d_](?:[\w\s&/.'’()+\-]|,(?=\s)){0,70}?)"
    r"(?P<mark>\s{0,3}:|\s{1,3}[-–—](?=\s|$)|\s{0,3}$)"
)
VALUE = re.compile(r"[\s,:]{0,6}[<>=~+\-]?\s?(?:\d|positive\b|negative\b|normal\b)", re.IGNORECASE)
WORD = re.compile(r"[^\W_]+")
TAIL = re.compile(r"\s*\([^()]*\)?\s*$|[^\w)]+$")
MAX_WORDS = 8

# A word of these in a label makes it a section's name, whatever its case and what follows.
NAMING = frozenset(
    """addendum allergies allergy anesthesia assessment assessments attending background cc comments
    comparison complaint complaints complications conclusion conclusions condition consultation
    course description diagnoses diagnosis diagnostics discussion disposition exam examination
    finding findings followup history hpi immunizations impression impressions indication
    indications instructions interpretation investigations labs laboratories laboratory medication
    medications meds narrative objective operation plan pmh problems procedure procedures psh
    reason recommendation recommendations results ros service studies subjective summary surgeries
    technique vitals""".split()
)
# Words that section names are made of beside those: a line without a colon holds no others.
FILLING = frozenset(
    """admission and at care chief clinical current data date discharge family final for general
    home hospital imaging in initial interval known list medical mental neurological of on operative
    other outpatient past performed physical postoperative preoperative present presenting prior
    problem psychiatric radiographic radiology relevant review session sexual signs social
    status surgical system systems test tests the therapy to treatment up visit vital follow
    illness present x ray""".split()
)
SYSTEMS = frozenset(
    """abdomen abdominal back breast breasts cardiac cardiovascular chest constitutional cor
    cranial cv ear ears endocrine ent extremities extremity eye eyes gastrointestinal general
    genital genitalia genitourinary gi gu gyn head heart heent hematologic integumentary lung lungs
    lymphatic lymphatics mouth musculoskeletal neck neuro neurologic neurological nose
    pelvic pelvis psych psychiatric pulmonary rectal respiratory skin spine throat vascular
    gynecologic hematology""".split()
)
TITLES = frozenset("dr mr mrs ms md prof".split())
TALKING = frozenset("he her his i it my no our she the their they this we your".split())
# Words that a section's name may hold beside all those and still be no one's name; they decide
# nothing about what is a heading.
HARMLESS = frozenset(
    """active additional administered brief code comment component consult data details diagnostic
    events gross identifying infusions invasive keywords major micro microscopic note o p
    pertinent principal s sample secondary shift so far specialty specimen specimens statement
    stopped substance surgeon telemetry transfer type use ventilator""".split()
)
KNOWN = (["a", "p"], ["review", "of", "systems"])  # assessment and plan
JOINING = frozenset("and or of the for in on to with at by a an from".split())


def heading(line: str, *, alone: bool = False) -> str | None:
    """Return the section name that the start of `line` gives, or None when it is no heading.

    `line` is a line of a note from its first character that is not white space. `alone` tells that
    it is underlined, so that it needs no colon. Names are lower case with single spaces and without
    punctuation at the end.
    """
    match = HEADING.match(line[:100])
    if match is None:
        return None
    name, rest = match["name"], line[match.end() :]
    words = WORD.findall(name.lower())
    if not words or len(words) > MAX_WORDS or words[0] in TALKING or TITLES & set(words):
        return None
    if SYSTEMS >= set(words) - JOINING:
        return None
    if not (alone or _names_section(name, words, match["mark"].strip(), rest)):
        return None
    return normalise(name) or None


def normalise(name: str) -> str:
    """Return a heading's words in lower case, single-spaced, without marks at the end."""
    return TAIL.sub("", TAIL.sub("", " ".join(name.lower().split())))


def safe_name(section: str) -> str:
    """Return a section's name for pages and logs: "(other)" where a word is not of our lists.

    A heading may be anything in capitals, a patient's name among them.
    """
    if not section:
        return "(none)"
    known = set(WORD.findall(section)) <= NAMING | FILLING | SYSTEMS | JOINING | HARMLESS
    return section if known else "(other)"


def _names_section(name: str, words: list[str], mark: str, rest: str) -> bool:
    known = not NAMING.isdisjoint(words) or words in KNOWN
    if not mark:
        made = len(words) <= 6 and (NAMING | FILLING) >= set(words)
        return known and made and name[0].isupper() and name[-1].isalnum()
    if mark != ":":
        return known and name[0].isupper() and (NAMING | FILLING) >= set(words)
    if not rest.strip():
        return known or name.isupper() or _titled(name)
    if name.isupper():
        return known or (len(name) >= 5 and VALUE.match(rest) is None)
    return known and _titled(name, first_only=len(words) <= 5)


def _titled(name: str, *, first_only: bool = False) -> bool:
    """Tell whether the words that carry meaning are capitalised (or only the first of them)."""
    words = [word for word in WORD.findall(name) if word not in JOINING]
    return bool(words) and all(word[0].isupper() for word in words[: 1 if first_only else None])
