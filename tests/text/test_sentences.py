"""Sentences, line joins and section names on hand-written notes, and properties on nasty text."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spanlake.text.sections import heading, normalise, safe_name
from spanlake.text.sentences import section_at, split

WORD = re.compile(r"\w+|[^\w\s]")
PARTS = [
    *("\n \r \r\n \f \v \x85 \u2028 \u2029 \x1c").split(" "),
    *(" ", "  ", "\t", "\xa0", "\u200b", "\u3000", "é", "e\u0301", "🫀", "𝒜", "İ", "ß"),
    *(". , ; : ! ? ... … ) ( ] [** **] \" ' ” - ---- === • * # / % + 1. 2) 3. 10. 2.5 140").split(),
    *("Dr. vs. p.o. b.i.d. No. T. The the He mg PLAN: Plan: HISTORY Lungs: .,PLAN: ,1.").split(),
    *("pain Aspirin is WBC of noted.The " + "x" * 50).split(),
]
nasty = st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=60).map("".join)


def texts(note_text: str) -> list[str]:
    return [note_text[s.span.start : s.span.end] for s in split(note_text)]


def sections(note_text: str) -> list[str]:
    return [sentence.section for sentence in split(note_text)]


@given(nasty)
@example("a.\x85b \u2028 c.\xa0D")
@example("1.\r\n\r\n2.\r3. The 🫀 is fine.\x0cThe end")
def test_every_character_that_is_not_space_lies_in_exactly_one_trimmed_sentence(note_text):
    last = 0
    for sentence in split(note_text):
        span = sentence.span
        text = note_text[span.start : span.end]
        assert last <= span.start
        assert text and text == text.strip()
        assert not note_text[last : span.start].strip()
        last = span.end
    assert not note_text[last:].strip()


@given(nasty)
def test_no_sentence_cuts_a_word(note_text):
    edges = {edge for s in split(note_text) for edge in (s.span.start, s.span.end)}
    inside = {i for m in WORD.finditer(note_text) for i in range(m.start() + 1, m.end())}
    assert not edges & inside


@given(nasty)
def test_a_section_is_a_normal_name_and_never_unset_again(note_text):
    names = sections(note_text)
    assert all(name == normalise(name) for name in names)
    assert "" not in names[next((i for i, name in enumerate(names) if name), len(names)) :]


def test_a_byte_order_mark_is_no_word():
    note = "\ufeffCHIEF COMPLAINT: cough\nNo fever"
    assert texts(note) == ["CHIEF COMPLAINT: cough", "No fever"]
    assert sections(note) == ["chief complaint", "chief complaint"]
    assert split(note)[0].span.start == 1


def test_the_number_of_an_item_stays_with_its_item_and_a_value_with_its_name():
    assert texts("1. CAP 2. COPD exac. 3. CKD stage 3. Stable. 4. DM") == [
        "1. CAP",
        "2. COPD exac.",
        "3. CKD stage 3.",
        "Stable.",
        "4. DM",
    ]


@given(nasty)
def test_splitting_twice_gives_the_same(note_text):
    assert split(note_text) == split(note_text)


@pytest.mark.parametrize(
    "blank", ["", " ", "\n\r\n\t", "\f\v\x85\u2028\xa0", "\ufeff", "\ufeff \r\n"]
)
def test_a_blank_note_has_no_sentences(blank):
    assert split(blank) == []


def test_huge_and_degenerate_notes_are_split_whole():
    assert split("\n" * 100_000) == []
    assert len(split("." * 50_000)) == 1
    assert len(split("," * 50_000)) == 1
    assert len(split("pain " * 12_000)) == 1
    assert len(split("He is well. " * 5_000)) == 5_000
    assert len(split("A" * 60_000 + "\n" + "[** " * 10_000)) == 2
    assert texts(" \r\n" * 30_000 + "end") == ["end"]
    assert len(split(". ! ? ) " * 10_000)) >= 1


@pytest.mark.parametrize(
    "sentence",
    [
        "Seen by Dr. Smith and Mrs. Jones at St. Mary vs. home, e.g. Monday.",
        "Lasix 40 mg p.o. b.i.d. with 2.5 mg q.h.s. as needed.",
        "Incision with a No. 15 blade on Jan. 5 at 37.5 degrees.",
        "T. bili was 2.5 and E. coli grew.",
        "The letter of J. Smith names C. Difficile.",
        "Metoprolol 25 mg p.o. BID was begun.",
        "Omeprazole 20 mg Capsule, Delayed Release(E.C.) Sig: One daily",
        "Pain is now ... less, and ? PE was raised.",
        "Admitted [**2151-7-16**] to [**Hospital1 18**] with fever.",
        "1. Hypertension, on lisinopril.",
        "2 . Slightly elevated ALT .",
        "PLAN: 1. Aspirin daily.",
        "See www.Example.org or write to a.b@Example.org today.",
        "Patient is well. he walks.",
        "Vit. D 1000 units daily",
        "Inj. X was given",
        "Tab. X and tab. Paracetamol 500 mg",
        "Hb 9.1, plt. 210",
        "5 ft. 6 in. tall",
        "COPD exac. on steroids",
        "AHI ......... 66/h",
        "Migraine with aura? NO",
        "Seizure?   YES - once",
    ],
)
def test_a_full_stop_within_a_sentence_does_not_end_it(sentence):
    assert texts(sentence) == [sentence]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("He was seen by Dr. X.", "The wound is clean."),
        ("Takes vitamin D.", "She is well."),
        ("Aspirin 81 mg b.i.d.", "Lisinopril 10 mg daily."),
        ("Platelets were 140.", "Potassium 4.1."),
        ("(Seen at night.)", "Then sent home."),
        ("THE CHEST IS CLEAR.", "NO MURMUR."),
        ("No pain!", "Any fever?"),
        ("1. Hypertension.", "2. Diabetes."),
        ("Lasix 20 mg q.d.", "2. Aspirin."),
        ("Lasix 20 mg q.d.", "ALLERGIES: None."),
        ("Nausea , vomiting .", "She was discharged ."),
        ("Etiology unclear…", "Labs pending."),
        ("Fever 🤒.", "İstanbul trip noted."),
        ("1. CAP", "2. COPD exac."),
        ("A/P: 1. cough", "2. fever"),
        ("COPD exac.", "Continue nebulizers."),
        ("Takes 1 tab.", "Lisinopril was stopped."),
        ("Two salt tabs.", "Sodium rose."),
        ("Any fever?", "No cough."),
        ("Seen by Dr. X.", "I agree."),
        ("Pain is 0.", "Sutures removed."),
    ],
)
def test_a_full_stop_between_sentences_parts_them(first, second):
    assert texts(f"{first} {second}") == [first, second]


def test_a_missing_space_behind_a_full_stop_does_not_hide_it():
    assert texts("A rash was noted.The chest is clear.") == [
        "A rash was noted.",
        "The chest is clear.",
    ]


def test_lost_line_breaks_are_found_at_their_commas():
    note = "SUBJECTIVE:,  Cough.,MEDICATIONS: , Zyrtec , daily.,PLAN:,1.  Rest.,2.  Fluids"
    assert texts(note) == [
        "SUBJECTIVE:,  Cough.,",
        "MEDICATIONS: , Zyrtec , daily.,",
        "PLAN:,",
        "1.  Rest.,",
        "2.  Fluids",
    ]
    assert sections(note) == ["subjective", "medications", "plan", "plan", "plan"]


def test_lines_of_lists_and_tables_stay_apart():
    note = "Aspirin 81 mg\nMetoprolol 25 mg\n- rest\n* fluids\nNa 140\nK 4.1\r\nCl 100\rCa 9"
    assert len(texts(note)) == 8


def test_long_items_of_like_length_are_not_taken_for_wrapped_text():
    drugs = ("Aspirin", "Lisinopril", "Metformin", "Atorvastatin", "Omeprazole", "Furosemide")
    note = "\n".join(
        f"{drug} one tablet by mouth every morning with breakfast meal" for drug in drugs
    )
    assert len(texts(note)) == len(drugs)


WRAPPED = """HISTORY OF PRESENT ILLNESS:
Mrs. Example is an 82 year old woman with a long history of chronic heart
failure, COPD on 5 L of oxygen at baseline, and atrial fibrillation. She saw
Dr. Sample on Monday and was started on furosemide 40 mg p.o. b.i.d. with a
good effect. On arrival her oxygen saturation was 88 percent with a pH of
7. She was given nebulizers and moved to the intensive care unit under the
CCU team, where a diltiazem drip was begun for a rapid rate with a target of
100 beats a minute.

MEDICATIONS ON ADMISSION:
1. Omeprazole 20 mg capsule, delayed release, one capsule by mouth twice a
day before meals.
2. Aspirin 81 mg daily
3.
Lasix 40 mg daily"""


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\u2028"])
def test_hard_wrapped_prose_is_joined_and_its_list_is_not(newline):
    found = texts(WRAPPED.replace("\n", newline))
    assert [" ".join(text.split()) for text in found] == [
        "HISTORY OF PRESENT ILLNESS:",
        "Mrs. Example is an 82 year old woman with a long history of chronic heart failure,"
        " COPD on 5 L of oxygen at baseline, and atrial fibrillation.",
        "She saw Dr. Sample on Monday and was started on furosemide 40 mg p.o. b.i.d. with a"
        " good effect.",
        "On arrival her oxygen saturation was 88 percent with a pH of 7.",
        "She was given nebulizers and moved to the intensive care unit under the CCU team,"
        " where a diltiazem drip was begun for a rapid rate with a target of 100 beats a minute.",
        "MEDICATIONS ON ADMISSION:",
        "1. Omeprazole 20 mg capsule, delayed release, one capsule by mouth twice a day before"
        " meals.",
        "2. Aspirin 81 mg daily",
        "3. Lasix 40 mg daily",
    ]


def test_a_line_break_within_de_identification_brackets_is_no_end():
    assert texts("Seen at [**Hospital1\n18**] today") == ["Seen at [**Hospital1\n18**] today"]


def test_a_bare_number_does_not_swallow_the_next_number_or_heading():
    assert texts("1.\n2.\nPLAN:\nRest") == ["1.", "2.", "PLAN:", "Rest"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("HISTORY OF PRESENT ILLNESS:", "history of present illness"),
        ("MEDICATIONS : Aspirin", "medications"),
        ("ALLERGIES: , None", "allergies"),
        ("Past  Medical\tHistory: asthma", "past medical history"),
        ("Impression - stable", "impression"),
        ("Assessment & Plan", "assessment & plan"),
        ("A/P:", "a/p"),
        ("## Medications (continued):", "medications"),
        ("II. PLAN: rest", "plan"),
        ("CONTESTED ISSUES: pay", "contested issues"),
        ("CHIEF COMPLAINT", "chief complaint"),
        ("ESTIMATED BLOOD LOSS: Minimal", "estimated blood loss"),
        ("Keywords:", "keywords"),
    ],
)
def test_headings_give_normal_names(line, name):
    assert heading(line) == name


@pytest.mark.parametrize(
    "line",
    [
        "1.",
        "- ",
        "10:30",
        "Dr. Smith:",
        "DR. SMITH: called",
        "BP: 120/80",
        "SODIUM: 140",
        "NEUTROPHILS: 70 percent",
        "WBC: high",
        "HEENT: normal",
        "Lungs: clear",
        "GENERAL: He is well",
        "CHEST",
        "No history of asthma.",
        "The plan is rest",
        "Her plan: rest",
        "Physical exam.",
        "NO ACUTE DISTRESS",
        "She takes these drugs:",
    ],
)
def test_labels_and_sentences_are_no_headings(line):
    assert heading(line) is None


def test_an_underlined_line_is_a_heading_and_keeps_its_rule():
    assert texts("Social Matters\n--------------\nLives alone") == [
        "Social Matters\n--------------",
        "Lives alone",
    ]
    assert sections("Social Matters\n====\nLives alone") == ["social matters", "social matters"]


def test_sections_reach_from_their_heading_to_the_next():
    note = "Note of Monday\nPLAN: Rest. Fluids.\nLungs: clear\nDr. Smith: agrees\n\nLABS:\nNa 140"
    assert sections(note) == ["", "plan", "plan", "plan", "plan", "labs", "labs"]


def test_the_section_at_an_offset_is_that_of_its_sentence():
    text = "  Seen today.\nPLAN: Rest.\nWater.\n"
    sentences = split(text)
    offsets = (0, text.index("today"), text.index("PLAN"), text.index("Water"), len(text) - 1)
    assert [section_at(sentences, at) for at in offsets] == ["", "", "plan", "plan", "plan"]
    assert section_at([], 0) == ""


def test_a_heading_that_may_be_a_name_is_not_named():
    assert split("JANE ROE: seen.")[0].section == "jane roe"
    harmless = ["history of present illness", "brief hospital course", "a/p"]
    assert [safe_name(name) for name in harmless] == harmless
    unsafe = ["jane roe", "history of jane", "addendum 05/15/2025"]
    assert [safe_name(name) for name in unsafe] == ["(other)"] * 3
    assert safe_name("") == "(none)"


def test_no_gold_relation_of_the_development_notes_is_cut(corpora):
    for path in sorted((corpora / "mtsamples_kiwi" / "dev").glob("*.ann")):
        note_text = path.with_suffix(".txt").read_bytes().decode("utf-8")
        spans = [s.span for s in split(note_text)]
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        at = {}
        for name, what, *_ in (line for line in lines if line[0].startswith("T")):
            offsets = [int(number) for number in re.findall(r"\d+", what)]
            at[name] = [
                i for i, s in enumerate(spans) if s.start <= min(offsets) and max(offsets) <= s.end
            ]
            assert len(at[name]) == 1, path.name
        for name, what, *_ in (line for line in lines if line[0].startswith("R")):
            _, head, tail = what.split()
            assert at[head.split(":")[1]] == at[tail.split(":")[1]], (path.name, name)
