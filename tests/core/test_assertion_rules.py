"""Rules for negation, uncertainty and subject; every form with its counterpart that is affirmed.

Findings stand between « and »; the sign before a finding says what the rules have to find:
- negated, ? uncertain, + nothing, @WORD: another person, named by WORD.
"""

from __future__ import annotations

import re
import time

import pytest

from spanlake.core.assertion_rules import RULES_VERSION, add_assertions
from spanlake.core.assertions import PATIENT, assertions
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, Entity, Relation, Span, entity_at
from spanlake.predict import pipeline_fingerprint
from spanlake.text.sentences import split

KIWI = load_labels("kiwi")
FINDING = re.compile(r"«(?P<said>[-?+]+|@[^:»]+:)(?P<text>[^»|]+)(?:\|(?P<label>\w+))?»", re.DOTALL)


def _read(marked: str) -> tuple[str, list[Entity], list[str]]:
    """Return the text without marks, its main entities, and what each has to be."""
    text, entities, said, at = "", [], [], 0
    for found in FINDING.finditer(marked):
        text += marked[at : found.start()]
        at = found.end()
        start, text = len(text), text + found["text"]
        entities.append(entity_at(text, start, len(text), found["label"] or "problem"))
        said.append(found["said"])
    return text + marked[at:], entities, said


def _add(text: str, entities: list[Entity], relations: tuple[Relation, ...] = ()) -> Annotation:
    given = Annotation(tuple(entities), relations)
    found, index = add_assertions(text, split(text), given, [0] * len(entities), KIWI)
    assert len(index) == len(found.entities)
    return found.check(text)


def _states(marked: str) -> tuple[list[str], list[str]]:
    text, entities, wanted = _read(marked)
    found = []
    for said in assertions(_add(text, entities), KIWI)[: len(entities)]:
        state = "-" * bool(said.negated) + "?" * bool(said.uncertain)
        person = "" if said.subject in (PATIENT, None) else f"@{said.subject}:"
        found.append(state + person or "+")
    return found, wanted


BEHIND = """«-Pneumonia» was ruled out.
«-Pulmonary embolism» has been ruled out; «+cellulitis» persists.
«-Myocardial infarction»: ruled out.
«-Fever»: none.  «-Nausea» - denied.  «-Edema» (-).  «+Rash» (+).
«-Cough»: absent. «-Headache» not present. «-DVT» is not seen. «-Fracture» is excluded.
«+skin tag»; «-fissure» or «-fistula» not seen.
«-Abscess» was not identified. «+Diarrhea» resolved. «-Fever» free.
«-Thrombus» in the left atrium not detected.
«?Appendicitis» is unlikely. «?Meningitis» not yet excluded. «?Sepsis» cannot be ruled out.
«?Malignancy» needs to be excluded. «?Atelectasis», possible. «+Chest pain» likely due to «?reflux».
«?UTI»? Urine sent.
«+Nodule» not seen on prior exam. «+Chest pain», unlikely to be «?PE».
What causes «+cataracts»? Aging does.
«-Pneumonia» was suspected but has been ruled out. «-PE» suspected but ruled out.
«-aspirin|drug» not given. «-dialysis|treatment» was not required. «+CT|test» was not helpful.
Pallor «+Icterus» +   «-Clubbing» -   «-Edema» -
"""
ANSWERS = """«-Rash»: No
«+Rash»: no change
«-Weight loss» ........ NO
«+Reflux» ............. YES
«-Jaundice»        NO        «+Diabetes»        YES
«-Lump» that does not go away?   NO
«-Rash», «-mouth sores» on current regimen?   NO
| «-Gout» | no | | «+Asthma» | yes |
«+Urine ketones|test»: neg
«+Cupping»: 0.6
«-Falls» in past year:  0
«-Vomiting» (Y/N): N
«-Chest pain»: No «+Headache»: Yes
«-Allergies»: NKDA
"""
BOXES = """[x] «+Fever»
[ ] «-Chills»
☑ «+Vomiting»   ☐ «-Diarrhea»
«-Headache»: [ ] Yes [x] No
«+Dizziness»: [x] Yes [ ] No
«-Penile discharge»  [X] No  [ ] Yes
☐ YES ☒ NO   «-slurred speech»
«-Rash»: yes__ no_x_
___ «-Fainting»   _x_ «+Eczema»
Lids: [x] «+blepharitis» [ ] «-ptosis»
«-Chills»: (-) «+Cough»: (+)
Mood: missed (+), «-suicidal» (-)
(+) «+fatigue» (-) «-fever» (-) «-chills»
[x]  [ ]  «+Gout»
«+Rash»...Y «-Itching»...N
«+Cough»: [Y] / N «-Rash»: Y / [N]
ROS: [-] «-joint pain» [-] «-mouth sores» [+] «+fatigue»
«-Stridor»: Y / [N]
«+Runny nose»: [Y] / N
N   «-Blood clots»
[ ] repeat «+CBC|test» twice weekly
[ ] «+Endovenous ablation|treatment»: appointment
"""
IN_FRONT = """Patient denies «-fever», «-chills», «-cough», «-rash», but has «+chest pain».
Denies relief of the «+nocturia» with tamsulosin. No change in «+the abrasion».
Negatives: «-weight loss», «-night sweats», «-bone pain»
NEG for «-sinus pain»; POS for «+sneezing»
She does not report «-a pop» or «-bruising». She reports «+swelling».
no «-effusion», «+mild atrophy».
No «-adenopathy», «-thyromegaly».
«-asthma»: no      «+eczema»: as an infant
Not only «+fatigue» but also «+sleepiness».
possible «?lupus»; r/o «?PE», «+pleuritic pain»; ? «?abscess»; no concern for «+neurosyphilis»
Differential diagnosis: «?temporal arteritis», «?aneurysm»
«?UTI» vs «?cellulitis»
Avoid «-ibuprofen|drug» and «-aspirin|drug»; avoid «+overuse»
Denies «-dizziness» after «+a fall». Denies taking drugs for «+HTN».
She never had «+headaches» this bad. He was ruled out for «-MI».
No evidence to suggest «-stroke». CT failed to show «-a bleed». R/O: «?sepsis»
«+Atrial fibrillation», not on «-warfarin|drug».
No «-vitamin K|drug» for now. No «+CT|test» of note.
"""
LISTS = """Patient denies
- «-fever»
- «-wheeze» but has «+cough»

- «-rash»

«+Angina» today. Smoking: denies
- «+alcohol abuse»

Patient denies:
- «-chest pain»
- «-syncope» or «-presyncope»

Patient reports:
- «+orthopnea»
Negative for:
  «-melena»
  «-jaundice»
Exam: «+murmur»
Rule out:
* «?osteomyelitis»
"""
FAMILY = [
    "Her mother had «@mother:hypertension», «@mother:diabetes» and «@mother:gout».",
    "Mother with «@Mother:diabetes», patient has «+asthma».",
    "Mother reports that the child has «+fever».",
    "Brought in by her daughter with «+confusion».",
    "She lives with her son and has «+dementia».",
    "He lives with his wife who has «@wife:dementia».",
    "Discussed with son: «+pneumonia» is better.",
    "FHx positive for «@FHx:gout».",
    "PMH\n- family history\n- «+diabetes»",
    "FAMILY HISTORY OF «@FAMILY HISTORY:GOUT»\n«+Diabetes» today.",
    "The donor had «@donor:hepatitis».",
    "FH: sister well. Pt has «+ulcers». Husband's family: «@family:gout».",
    "Family History: Unremarkable\n«+Hypertension», on meds",
    "FAMILY HISTORY:\nFather: «@Father:MI»\n\n«+Gout» today.",
    "FAMILY HISTORY:\nFather: «@Father:MI»\nSURGERIES\n«+Hernia» 1999",
    "Daughter says that her mother has «+poor sleep».",
    "FAMILY HISTORY:\nFather: «@Father:MI» at 60.\n«@mother:Breast cancer» in mother.\n\n"
    "SOCIAL HISTORY:\n«+Stress» at work.",
    "FAMILY HISTORY: «@FAMILY HISTORY:Colon cancer».\nALLERGIES: «+Hives» from penicillin.",
    "FH\n- «@mother:Diabetes» - mother\n- «@cousin:Epilepsy» (cousin)\nPSH\n- «+appendicitis» 1999",
    "There is a family history of «@family history:thyroid disease». She has «+pelvic pain».",
    "Family: wife updated; they asked about «+dialysis».",
    "Family: mother «@mother:hip fracture»; two brothers «@two brothers:aortic aneurysm»",
]
FORMS = {
    "behind": BEHIND,
    "answers": ANSWERS,
    "boxes": BOXES,
    "in front": IN_FRONT,
    "lists": LISTS,
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CR LF"])
@pytest.mark.parametrize("name", FORMS)
def test_forms_of_notes_say_what_they_say(name: str, line_end: str) -> None:
    marked = FORMS[name].replace("\n", line_end)
    found, wanted = _states(marked)
    text, entities, _ = _read(marked)
    wrong = [
        (entity.text, text[max(0, entity.start - 25) : entity.end + 15], is_, to_be)
        for entity, is_, to_be in zip(entities, found, wanted, strict=True)
        if is_ != to_be
    ]
    assert not wrong


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CR LF"])
@pytest.mark.parametrize("marked", FAMILY)
def test_findings_of_relatives_are_theirs(marked: str, line_end: str) -> None:
    found, wanted = _states(marked.replace("\n", line_end))
    assert found == wanted


def test_a_yes_no_table_is_read_by_columns() -> None:
    table = (
        "                    YES   NO\n"
        "«-Angina»                     X\n"
        "«+Hypertension»         X\n"
        "\n"
        "«+Asthma»               X\n"
    )
    found, wanted = _states(table)
    assert found == wanted
    bars = "| | Yes | No |\n| «-Gout» | | x |\n| «+Asthma» | x | |\n"
    found, wanted = _states(bars)
    assert found == wanted


def test_added_rows_have_no_score_and_say_that_a_rule_made_them() -> None:
    text, entities, _ = _read("«-Pneumonia» was ruled out.")
    found = _add(text, entities)
    assert [(e.text, e.label, e.score, e.by_rule) for e in found.entities[1:]] == [
        ("ruled out", "negation", None, True)
    ]
    assert found.relations == (Relation(0, 1, "hasAttr", None, by_rule=True),)
    assert found.without_rules() == Annotation(tuple(entities))


def test_what_the_model_has_found_is_left_as_it_is() -> None:
    text = "Fever: no"
    fever, no = entity_at(text, 0, 5, "problem", 0.9), entity_at(text, 7, 9, "negation", 0.8)
    related = Annotation((fever, no), (Relation(0, 1, "hasAttr", 0.7),))
    found, _ = add_assertions(text, split(text), related, [0, 0], KIWI)
    assert found == related
    unrelated, _ = add_assertions(text, split(text), Annotation((fever, no)), [0, 0], KIWI)
    assert unrelated.entities == (fever, no)
    assert unrelated.relations == (Relation(0, 1, "hasAttr", None, by_rule=True),)


def test_a_cue_may_be_a_value_for_the_model() -> None:
    text = "EEG negative for seizures."
    given = [entity_at(text, 0, 3, "test"), entity_at(text, 4, 12, "labvalue")]
    found = _add(text, [*given, entity_at(text, 17, 25, "problem")])
    assert [e.text for e in found.entities if e.by_rule] == ["negative for"]


def test_pairs_that_the_label_set_lacks_are_not_made() -> None:
    text, entities, _ = _read("Possible «+aspirin|drug». «+Fever»: none.")
    found = _add(text, entities)
    assert [(r.head, found.entities[r.tail].label) for r in found.relations] == [(1, "negation")]
    chemprot = load_labels("chemprot")
    gene = entity_at("BRCA not seen", 0, 4, next(iter(chemprot.main)))
    given = Annotation((gene,))
    assert add_assertions("BRCA not seen", split("BRCA not seen"), given, [0], chemprot)[0] == given


def test_a_wrapped_line_is_one_line() -> None:
    text, entities, wanted = _read(
        "The patient denies any «-cough», «-chest\n   pain» or\n   «-fever»."
    )
    found = assertions(_add(text, entities), KIWI)
    assert ["-" * bool(said.negated) for said in found[:3]] == wanted


def test_a_finding_may_end_with_a_line_break_before_a_sign() -> None:
    text = "was ruled out\n(-).... no "
    found = _add(text, [entity_at(text, 4, 14, "problem")])
    assert all(entity.text in ("(-)", "no") for entity in found.entities[1:])


def test_added_modifiers_know_their_sentence() -> None:
    text, entities, _ = _read("Well.\nPatient denies:\n- «-fever»\n")
    sentences = split(text)
    place = next(
        i for i, one in enumerate(sentences) if "fever" in text[one.span.start : one.span.end]
    )
    given = Annotation(tuple(entities))
    found, index = add_assertions(text, sentences, given, [place], KIWI)
    cue = sentences[index[1]].span
    assert found.entities[1].text == "denies" and cue.contains(found.entities[1].span)
    assert index[1] != index[0]


def test_the_rules_belong_to_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pipeline_fingerprint("model", "1")
    monkeypatch.setattr("spanlake.predict.RULES_VERSION", RULES_VERSION + "x")
    assert pipeline_fingerprint("model", "1") != before


@pytest.mark.parametrize(
    "piece",
    [
        "denies fever, ",
        "mother with fever ",
        "[ ] fever  ",
        "fever? no ",
        "| fever | no |\n",
        "fever or ",
    ],
)
def test_time_is_linear_in_a_note_without_a_full_stop(piece: str) -> None:
    def seconds(times: int) -> float:
        text, at = piece * times, piece.index("fever")
        spans = [Span(i * len(piece) + at, i * len(piece) + at + 5) for i in range(times)]
        entities = [Entity(span, "problem", "fever") for span in spans]
        began = time.process_time()
        _add(text, entities)
        return time.process_time() - began

    seconds(200)
    small, large = seconds(1000), seconds(4000)
    assert large < 10 * max(small, 0.05)


@pytest.mark.parametrize(
    ("before", "piece", "behind"),
    [
        ("fever", " ", "fever: no"),
        ("fever", "\t", "no fever"),
        ("fever", ".", " no"),
        ("denies fever", "_", "\nfever"),
        ("fever:", "mother ", "fever"),
        ("fever", "family: ", "fever"),
        ("", "fever -  ", ""),
        ("", "fever Y / N ", ""),
        ("", "FH\n", "fever"),
        ("[ ] ", "fever, ", ""),
    ],
)
def test_a_note_of_one_thing_over_and_over_is_read_in_a_second(
    before: str, piece: str, behind: str
) -> None:
    text = before + piece * (60_000 // len(piece)) + behind
    spans = [Span(found.start(), found.end()) for found in re.finditer("fever", text)]
    sentences = split(text)
    given = Annotation(tuple(Entity(span, "problem", "fever") for span in spans))
    began = time.process_time()
    add_assertions(text, sentences, given, [0] * len(spans), KIWI)
    assert time.process_time() - began < 2
