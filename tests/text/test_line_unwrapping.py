"""Lines that belong together, and lines that do not, at any width."""

from __future__ import annotations

import textwrap
import time

import pytest

from spanlake.text.sentences import split

PROSE = (
    "There is no evidence of pulmonary embolism. There is mild left lower lobe atelectasis. No"
    " pleural effusion is seen. There is no evidence of bowel obstruction or of any acute"
    " appendicitis. She was seen by Dr. Sample in the clinic on Monday and denies any chest pain,"
    " cough or fever, and she has not had any bleeding since the dose of warfarin was lowered to"
    " 2 mg a day. A CT of the head was read as normal by the radiologist, and there was no sign of"
    " a stroke. The plan is to go on with the present treatment and to have her walk with the"
    " therapist in the morning."
)


def texts(note_text: str) -> list[str]:
    found = [note_text[s.span.start : s.span.end] for s in split(note_text)]
    return [" ".join(text.split()) for text in found]


def wrapped(text: str, width: int, *, hang: str = "") -> str:
    return textwrap.fill(
        text, width, break_long_words=False, break_on_hyphens=False, subsequent_indent=hang
    )


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "width", [20, 25, 30, 35, 38, 40, 50, 60, 72, 80, 100, 120, 145, 160, 200, 250]
)
def test_prose_wrapped_at_any_width_keeps_its_sentences(width, newline):
    note = "HISTORY:\n" + wrapped(PROSE, width) + "\n\nPLAN:\nAspirin\nRest"
    expected = ["HISTORY:", *texts(PROSE), "PLAN:", "Aspirin", "Rest"]
    found = texts(note.replace("\n", newline))
    assert [text for text in expected if text not in found] == []
    assert found == expected


@pytest.mark.parametrize("width", [30, 60, 100])
def test_items_with_hanging_indents_are_joined_and_stay_apart(width):
    items = [
        "- Aspirin 81 mg daily for the prevention of coronary disease, to be taken with food",
        "- Metoprolol 25 mg twice daily, to be held if the heart rate is below 60 or she is dizzy",
        "- Lisinopril 10 mg daily",
    ]
    note = "\n".join(wrapped(item, width, hang="  ") for item in items)
    assert texts(note) == items


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("no evidence of pulmonary", "embolism"),
        ("No pleural", "effusion"),
        ("Denies chest", "pain."),
        ("There is no", "fracture"),
        ("without any", "bleeding"),
        ("negative for", "COPD"),
        ("history of", "CHF"),
        ("denies fever,", "chills"),
        ("pain and", "swelling"),
        ("seen by Dr.", "Sample"),
        ("back spasm w/", "movement"),
        ("history of prior", "MI"),
        ("NO EVIDENCE OF", "PNEUMONIA"),
        ("given metoprolol 5 mg", "IV once"),
        ("started on furosemide", "40 mg daily"),
        ("on hospital day", "3 she walked"),
        ("Clobetasol 0.05% ointment", "Sig: twice daily"),
        ("x" * 150 + " and there is stable", "cardiomegaly today"),
    ],
)
def test_the_words_at_a_break_join_two_lines_at_any_width(above, below):
    assert texts(f"{above}\n{below}") == [f"{above} {below}"]
    assert texts(f"{above}\r\n   {below}") == [f"{above} {below}"]
    assert len(texts(f"{above}\n\n{below}")) == 2


@pytest.mark.parametrize(
    "lines",
    [
        ["1. Asthma and", "2. COPD or", "3. CHF"],
        ["Denies any", "- fever", "- chills and", "- cough"],
        ["COME BACK IF YOU HAVE", "o fever", "→ chills"],
        ["she is well and", "PLAN:", "rest"],
        ["lisinopril 10 mg daily", "aspirin 81 mg by mouth daily", "metformin 500 mg"],
        ["ASPIRIN 81 MG", "LISINOPRIL 10 MG", "METFORMIN 500 MG"],
        ["chest pain", "shortness of breath", "nausea", "no fever", "no chills"],
        ["lungs: clear", "heart: normal", "abdomen: soft"],
        ["Fever: no", "Cough - no", "Smoker no", "Leaking -> no", "Alcohol yes"],
        ["BP 120/80", "HR 72", "SpO2 98% on RA", "Height 5 ft 6 in", "Weight 150 lb"],
        ["Sodium    140      of", "potassium 4.1      mmol/L"],
        ["Creatinine\t1.0\tof", "urea\t20\tmg/dL"],
        ["| wbc | 9 | of |", "| plt | 200 | ok |"],
        ["Itch ........ none and", "fever ........ NO"],
        ["Jane Doe, MD", "12 Main Street", "Springfield, MA 02114"],
        ["Dear Dr. Jones,", "Thank you for seeing her."],
        ["Sincerely,", "Jane Doe, MD"],
        ["Hypertension", "hyperlipidemia", "Type 2 diabetes", "obesity"],
        ["[ ] fever and", "[x] cough"],
        ["07:15 awake and", "08:30 asleep"],
        ["(Seen in the clinic and", "", "at home)"],
    ],
)
def test_items_rows_labels_and_headings_stay_apart(lines):
    expected = [" ".join(line.split()) for line in lines if line]
    assert texts("\n".join(lines)) == expected
    assert texts("\r\n".join(lines)) == expected


@pytest.mark.parametrize("width", [30, 60, 100])
def test_a_list_beside_wrapped_prose_stays_apart(width):
    drugs = ["Lisinopril 10 mg daily", "Atorvastatin 40 mg at night", "Metformin 500 mg b.i.d."]
    note = "\n".join([wrapped(PROSE, width), "", "MEDICATIONS:", *drugs, "", wrapped(PROSE, width)])
    assert texts(note)[-len(texts(PROSE)) - 4 : -len(texts(PROSE))] == ["MEDICATIONS:", *drugs]


@pytest.mark.parametrize("newline", ["\n", "\r\n", " "])
def test_time_is_linear_in_the_length(newline):
    words = newline.join(["no", "evidence", "of", "pulmonary", "embolism.", "The", "CT", "2."])
    seconds = []
    for times in (500, 4_000):
        note = newline.join([words] * times)
        start = time.process_time()
        split(note)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 40 * seconds[0] + 0.1
