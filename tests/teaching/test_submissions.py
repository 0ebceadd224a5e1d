"""Finding what was handed in, whatever platform exported it. A file holds its own path, if nothing else is said."""

import io
import os
import shlex
import shutil
import stat
import subprocess
import zipfile

import nbformat
import pytest

from vae_lib import settings

pytest.importorskip("nbgrader", reason="needs pip install -e .[grading]")
TEACHING = settings.REPOSITORY / "notebooks" / "teaching"
ONE, TWO = "01_theory", "02_latent_dimension"


@pytest.fixture
def submissions(monkeypatch):
    monkeypatch.syspath_prepend(TEACHING)
    import submissions

    return submissions


@pytest.fixture
def collect(submissions, tmp_path):
    """collect({path: content}) -> {"student stem": content of the copy}, {student: notes}; a later file is newer."""

    def of(files):
        for folder in ("all", "course"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        (tmp_path / "all").mkdir()
        for i, (path, content) in enumerate(files.items()):
            file = tmp_path / "all" / path
            if path.endswith("/"):
                file.mkdir(parents=True, exist_ok=True)
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(to_bytes(path, content))
            os.utime(file, (1e9 + i, 1e9 + i))
        before = contents(tmp_path / "all")
        found, notes = submissions.collect(tmp_path / "all", tmp_path / "course")
        assert contents(tmp_path / "all") == before  # nothing is written there
        copies = contents(tmp_path / "course" / "submitted")
        assert copies == {
            f"{student}/{stem}/{stem}.ipynb": file.read_bytes() for (student, stem), file in found.items()
        }
        return {
            f"{student} {stem[:2]}": file.read_bytes().decode("latin-1") for (student, stem), file in found.items()
        }, notes

    return of


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def to_bytes(path, content):
    if isinstance(content, dict):
        return zipped(content)
    return content if isinstance(content, bytes) else (content or path).encode()


def zipped(files):
    """A zip file of {path: content}, a content that is a dict is one, too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (path, content) in enumerate(files.items()):
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 1, i, 0)), to_bytes(path, content))
    return buffer.getvalue()


def files(*paths):
    return dict.fromkeys(paths)


GRADESCOPE = """
submission_{}:
  :submitters:
  - :name: Jane Doe
    :email: jane@u.edu
  :created_at: 2026-11-21 10:11:12.000000000 Z
submission_{}:
  :submitters:
  - :name: Kim Kay
    :email: kim@u.edu
  - :name: Rick Roe
"""
LAYOUTS = {
    "a folder for each student": (
        files("ada/01_theory.ipynb", "ada/02_latent_dimension (1).ipynb", "grace/Copy of 01_theory.ipynb"),
        {"ada 01": "ada/01_theory.ipynb", "ada 02": "ada/02_latent_dimension (1).ipynb"}
        | {"grace 01": "grace/Copy of 01_theory.ipynb"},
    ),
    "an outer folder": (
        files("export 2026/ada/01_theory.ipynb", "export 2026/zoë müller/01_theory.ipynb"),
        {"ada 01": "export 2026/ada/01_theory.ipynb", "zoë müller 01": "export 2026/zoë müller/01_theory.ipynb"},
    ),
    "two outer folders and one student": (files("a/b/ada/01_theory.ipynb"), {"ada 01": "a/b/ada/01_theory.ipynb"}),
    "two outer folders, different notebooks": (
        files("a/b/ada/01_theory.ipynb", "a/b/alan/02_latent_dimension.ipynb", "a/b/grace/"),
        {"ada 01": "a/b/ada/01_theory.ipynb", "alan 02": "a/b/alan/02_latent_dimension.ipynb"},
    ),
    "folders of assignments, students in them": (
        files("HW1/ada/01_theory.ipynb", "HW1/bob/01_theory.ipynb", "HW2/ada/02_latent_dimension.ipynb"),
        {"ada 01": "HW1/ada/01_theory.ipynb", "bob 01": "HW1/bob/01_theory.ipynb"}
        | {"ada 02": "HW2/ada/02_latent_dimension.ipynb"},
    ),
    "folders of notebooks, students in them": (
        files(
            "01_theory/ada/01_theory.ipynb",
            "02_latent_dimension/ada/02_latent_dimension.ipynb",
            "01_theory/bob/01_theory.ipynb",
        ),
        {"ada 01": "01_theory/ada/01_theory.ipynb", "bob 01": "01_theory/bob/01_theory.ipynb"}
        | {"ada 02": "02_latent_dimension/ada/02_latent_dimension.ipynb"},
    ),
    "students, assignments in them": (
        files("ada/HW1/01_theory.ipynb", "ada/HW2/02_latent_dimension.ipynb", "bob/HW1/01_theory.ipynb"),
        {"ada 01": "ada/HW1/01_theory.ipynb", "ada 02": "ada/HW2/02_latent_dimension.ipynb"}
        | {"bob 01": "bob/HW1/01_theory.ipynb"},
    ),
    "students, notebooks' folders in them": (
        files("ada/01_theory/01_theory.ipynb", "bob/01_theory/01_theory.ipynb"),
        {"ada 01": "ada/01_theory/01_theory.ipynb", "bob 01": "bob/01_theory/01_theory.ipynb"},
    ),
    "sections": (
        files("Section A/ada/01_theory.ipynb", "Section A/bob/01_theory.ipynb", "Section B/eve/01_theory.ipynb"),
        {"ada 01": "Section A/ada/01_theory.ipynb", "bob 01": "Section A/bob/01_theory.ipynb"}
        | {"eve 01": "Section B/eve/01_theory.ipynb"},
    ),
    "on time and late": (
        files("hw/On time/ada/01_theory.ipynb", "hw/On time/bob/01_theory.ipynb", "hw/Late/ada/01_theory.ipynb"),
        {"ada 01": "hw/Late/ada/01_theory.ipynb", "bob 01": "hw/On time/bob/01_theory.ipynb"},
    ),
    "late work in a student's folder": (
        files("ada/01_theory.ipynb", "ada/late/01_theory.ipynb", "bob/01_theory.ipynb"),
        {"ada 01": "ada/late/01_theory.ipynb", "bob 01": "bob/01_theory.ipynb"},
    ),
    "a name nearly like a platform's": (
        files("ada/my work, final (1)/01_theory.ipynb", "bob/my work, final (1)/01_theory.ipynb"),
        {f"{name} 01": f"{name}/my work, final (1)/01_theory.ipynb" for name in ("ada", "bob")},
    ),
    "folders that are numbers": (
        files("1/01_theory.ipynb", "2/01_theory.ipynb", "03/01_theory.ipynb"),
        {"1 01": "1/01_theory.ipynb", "2 01": "2/01_theory.ipynb", "03 01": "03/01_theory.ipynb"},
    ),
    "Canvas": (
        files(
            "doejane_12345_67890_01_theory.ipynb",
            "doejane_LATE_12345_67899_01_theory-1.ipynb",
            "roerick_LATE_12346_67891_01_theory-2.ipynb",
            "roerick_12347_67892_01_theory.ipynb",
            "LATE_anon_aB3xY_67893_01_theory.ipynb",
            "anon_cD4zW_67894_01_theory.ipynb",
            "poemia_12348_text.html",
        ),
        {"doejane_12345 01": "doejane_LATE_12345_67899_01_theory-1.ipynb"}
        | {"roerick_12346 01": "roerick_LATE_12346_67891_01_theory-2.ipynb"}
        | {"roerick_12347 01": "roerick_12347_67892_01_theory.ipynb"}
        | {
            "anon_aB3xY 01": "LATE_anon_aB3xY_67893_01_theory.ipynb",
            "anon_cD4zW 01": "anon_cD4zW_67894_01_theory.ipynb",
        },
    ),
    "Moodle, folders": (
        files(
            "Jane Doe_12345_assignsubmission_file_/01_theory.ipynb",
            "Jane Doe_12345_assignsubmission_onlinetext_/onlinetext.html",
            "Rick Roe_12346_assignsubmission_file/sub/01_theory.ipynb",
            "Mia Poe_12347_assignsubmission_onlinetext_/onlinetext.html",
        ),
        {"Jane Doe 01": "Jane Doe_12345_assignsubmission_file_/01_theory.ipynb"}
        | {"Rick Roe 01": "Rick Roe_12346_assignsubmission_file/sub/01_theory.ipynb"},
    ),
    "Moodle, names of one word, numbers of each assignment": (
        files(
            "HW1/王小明_12345_assignsubmission_file/01_theory.ipynb",
            "HW1/李娜_12346_assignsubmission_file/01_theory.ipynb",
            "HW2/王小明_77777_assignsubmission_file/02_latent_dimension.ipynb",
            "HW2/李娜_77778_assignsubmission_file/02_latent_dimension.ipynb",
            "HW2/Jane Doe_77779_assignsubmission_file/02_latent_dimension.ipynb",
            "HW2/Teilnehmer_5_assignsubmission_file/05_faces.ipynb",
            "HW2/Teilnehmer_6_assignsubmission_file/06_latent_arithmetic.ipynb",
            "HW3/Teilnehmerin_3_assignsubmission_file/03_fc_vs_conv.ipynb",
            "HW3/Teilnehmerin_4_assignsubmission_file/04_interpolation.ipynb",
        ),
        {"王小明 01": "HW1/王小明_12345_assignsubmission_file/01_theory.ipynb"}
        | {"李娜 01": "HW1/李娜_12346_assignsubmission_file/01_theory.ipynb"}
        | {"王小明 02": "HW2/王小明_77777_assignsubmission_file/02_latent_dimension.ipynb"}
        | {"李娜 02": "HW2/李娜_77778_assignsubmission_file/02_latent_dimension.ipynb"}
        | {"Jane Doe 02": "HW2/Jane Doe_77779_assignsubmission_file/02_latent_dimension.ipynb"}
        | {"Teilnehmer_5 05": "HW2/Teilnehmer_5_assignsubmission_file/05_faces.ipynb"}
        | {"Teilnehmer_6 06": "HW2/Teilnehmer_6_assignsubmission_file/06_latent_arithmetic.ipynb"}
        | {"Teilnehmerin_3 03": "HW3/Teilnehmerin_3_assignsubmission_file/03_fc_vs_conv.ipynb"}
        | {"Teilnehmerin_4 04": "HW3/Teilnehmerin_4_assignsubmission_file/04_interpolation.ipynb"},
    ),
    "Moodle, two of one name, numbers of each assignment": (
        files(
            "HW1/Jane Doe_12345_assignsubmission_file_/01_theory.ipynb",
            "HW1/Jane Doe_12346_assignsubmission_file_/01_theory.ipynb",
            "HW1/Rick Roe_12347_assignsubmission_file_/01_theory.ipynb",
            "HW2/Rick Roe_77777_assignsubmission_file_/02_latent_dimension.ipynb",
        ),
        {"Jane Doe_12345 01": "HW1/Jane Doe_12345_assignsubmission_file_/01_theory.ipynb"}
        | {"Jane Doe_12346 01": "HW1/Jane Doe_12346_assignsubmission_file_/01_theory.ipynb"}
        | {"Rick Roe 01": "HW1/Rick Roe_12347_assignsubmission_file_/01_theory.ipynb"}
        | {"Rick Roe 02": "HW2/Rick Roe_77777_assignsubmission_file_/02_latent_dimension.ipynb"},
    ),
    "Moodle, files": (
        files(
            "Jane Doe_12345_assignsubmission_file_01_theory.ipynb",
            "Participant_12346_assignsubmission_file_01_theory.ipynb",
            "Participant_12347_assignsubmission_file_02_latent_dimension.ipynb",
        ),
        {"Jane Doe 01": "Jane Doe_12345_assignsubmission_file_01_theory.ipynb"}
        | {"Participant_12346 01": "Participant_12346_assignsubmission_file_01_theory.ipynb"}
        | {"Participant_12347 02": "Participant_12347_assignsubmission_file_02_latent_dimension.ipynb"},
    ),
    "Canvas, names with vowel signs": (
        files("शर्माअनु_12345_67890_01_theory.ipynb", "शर्माअनु_12345_67999_02_latent_dimension.ipynb"),
        {"शर्माअनु_12345 01": "शर्माअनु_12345_67890_01_theory.ipynb"}
        | {"शर्माअनु_12345 02": "शर्माअनु_12345_67999_02_latent_dimension.ipynb"},
    ),
    "Canvas, quiz": (
        files(
            "doe_jane12345_question_5512345_67890_01_theory.ipynb",
            "doe_jane12345_question_5512346_67891_02_latent_dimension.ipynb",
        ),
        {"doe_jane12345 01": "doe_jane12345_question_5512345_67890_01_theory.ipynb"}
        | {"doe_jane12345 02": "doe_jane12345_question_5512346_67891_02_latent_dimension.ipynb"},
    ),
    "Blackboard": (
        files(
            "HW1_jdoe_attempt_2026-11-21-10-11-12_01_theory.ipynb",
            "HW1_jdoe_attempt_2026-11-20-10-11-12_01_theory.ipynb",
            "HW1_jdoe_attempt_2026-11-20-10-11-12.txt",
            "HW1_a_roe_attempt_2026-11-20-10-11-12_01_theory.ipynb",
            "HW1_b_roe_attempt_2026-11-20-10-11-12_01_theory.ipynb",
            "HW1_poe_attempt_2026-11-20-10-11-12.txt",
        ),
        {"jdoe 01": "HW1_jdoe_attempt_2026-11-21-10-11-12_01_theory.ipynb"}
        | {"roe_HW1_a 01": "HW1_a_roe_attempt_2026-11-20-10-11-12_01_theory.ipynb"}
        | {"roe_HW1_b 01": "HW1_b_roe_attempt_2026-11-20-10-11-12_01_theory.ipynb"},
    ),
    "Brightspace": (
        files(
            "index.html",
            "12345-67890 - Jane Doe - Nov 21, 2026 926 AM/01_theory.ipynb",
            "12345-67890 - Jane Doe - Nov 20, 2026 1011 AM/01_theory.ipynb",
            "12345-67890 - Mary-Ann Roe - Nov 20, 2026 926 PM - 01_theory.ipynb",
            "12345-67890 - Mary-Ann Roe - Nov 20, 2026 115 PM - 01_theory.ipynb",
        ),
        {"Jane Doe 01": "12345-67890 - Jane Doe - Nov 21, 2026 926 AM/01_theory.ipynb"}
        | {"Mary-Ann Roe 01": "12345-67890 - Mary-Ann Roe - Nov 20, 2026 926 PM - 01_theory.ipynb"},
    ),
    "Sakai": (
        files(
            "HW1/grades.csv",
            "HW1/Doe, Jane(jdoe)/Submission attachment(s)/01_theory.ipynb",
            "HW1/Doe, Jane(jdoe)/Feedback Attachment(s)/01_theory.ipynb",
            "HW1/Doe, Jane(jdoe)/timestamp.txt",
            "HW1/Roe, Rick(rroe)/timestamp.txt",
            "HW1/Cher,(cher)/Submission attachment(s)/01_theory.ipynb",
            "HW1/Kay, Kim(kkay); Lee, Lou (Lu)(lou@u.edu)/Submission attachment(s)/01_theory.ipynb",
            "HW2/Doe, Jane(jdoe)_Submission attachment(s)_02_latent_dimension.ipynb",
            "HW2/Doe, Jane(jdoe)_Feedback Attachment(s)_02_latent_dimension.ipynb",
        ),
        {"Doe_ Jane_jdoe_ 01": "HW1/Doe, Jane(jdoe)/Submission attachment(s)/01_theory.ipynb"}
        | {"Doe_ Jane_jdoe_ 02": "HW2/Doe, Jane(jdoe)_Submission attachment(s)_02_latent_dimension.ipynb"}
        | {"Cher__cher_ 01": "HW1/Cher,(cher)/Submission attachment(s)/01_theory.ipynb"}
        | {
            "Kay_ Kim_kkay__ Lee_ Lou _Lu__lou@u.edu_ 01": (
                "HW1/Kay, Kim(kkay); Lee, Lou (Lu)(lou@u.edu)/Submission attachment(s)/01_theory.ipynb"
            )
        },
    ),
    "Gradescope": (
        files(
            "assignment_1_export/submission_metadata.yml",
            "assignment_1_export/submission_111/01_theory.ipynb",
            "assignment_1_export/submission_12/01_theory.ipynb",
        ),
        {"submission_111 01": "assignment_1_export/submission_111/01_theory.ipynb"}
        | {"submission_12 01": "assignment_1_export/submission_12/01_theory.ipynb"},
    ),
    "Gradescope, with its list": (
        {
            "assignment_1_export/submission_metadata.yml": GRADESCOPE.format(111, 12),
            "assignment_2_export/submission_metadata.yml": GRADESCOPE.format(211, 299),
        }
        | files(
            "assignment_1_export/submission_111/01_theory.ipynb",
            "assignment_1_export/submission_12/01_theory.ipynb",
            "assignment_2_export/submission_211/02_latent_dimension.ipynb",
        ),
        {"jane@u.edu 01": "assignment_1_export/submission_111/01_theory.ipynb"}
        | {"Rick Roe_ kim@u.edu 01": "assignment_1_export/submission_12/01_theory.ipynb"}
        | {"jane@u.edu 02": "assignment_2_export/submission_211/02_latent_dimension.ipynb"},
    ),
    "Microsoft Teams": (
        files(
            *(f"Submitted files/Jane Doe/HW1/Version {i}/01_theory.ipynb" for i in (1, 2, 3)),
            "Submitted files/Rick Roe/HW1/Version 1/01_theory.ipynb",
        ),
        {"Jane Doe 01": "Submitted files/Jane Doe/HW1/Version 3/01_theory.ipynb"}
        | {"Rick Roe 01": "Submitted files/Rick Roe/HW1/Version 1/01_theory.ipynb"},
    ),
    "Google Classroom": (
        files(
            "HW1/Jane Doe - 01_theory.ipynb", "HW1/Rick Roe - Copy of 01_theory.ipynb", "HW1/01_theory - Mia Poe.ipynb"
        ),
        {"Jane Doe 01": "HW1/Jane Doe - 01_theory.ipynb", "Rick Roe 01": "HW1/Rick Roe - Copy of 01_theory.ipynb"}
        | {"Mia Poe 01": "HW1/01_theory - Mia Poe.ipynb"},
    ),
    "GitHub Classroom": (
        files(
            *(f"hw1-submissions/hw1-{name}/notebooks/{stem}.ipynb" for name in ("jane", "rick") for stem in (ONE, TWO)),
            "hw1-submissions/hw1-jane/.git/01_theory.ipynb",
            "hw1-submissions/hw1-jane/vae_lib/models.py",
        ),
        {
            f"{name} {stem[:2]}": f"hw1-submissions/hw1-{name}/notebooks/{stem}.ipynb"
            for name in ("jane", "rick")
            for stem in (ONE, TWO)
        },
    ),
    "GitHub Classroom, all notebooks in each assignment": (  # the first one is cloned last
        files(
            "02-latent-dimension-submissions/02-latent-dimension-jane/notebooks/01_theory.ipynb",
            "02-latent-dimension-submissions/02-latent-dimension-jane/notebooks/02_latent_dimension.ipynb",
            "01-theory-submissions/01-theory-jane/notebooks/01_theory.ipynb",
            "01-theory-submissions/01-theory-jane/notebooks/02_latent_dimension.ipynb",
        ),
        {
            "jane 01": "01-theory-submissions/01-theory-jane/notebooks/01_theory.ipynb",
            "jane 02": "02-latent-dimension-submissions/02-latent-dimension-jane/notebooks/02_latent_dimension.ipynb",
        },
    ),
    "initials": (
        files("hw/01_theory - J.Doe.ipynb", "hw/01_theory - J.Roe.ipynb"),
        {"J.Doe 01": "hw/01_theory - J.Doe.ipynb", "J.Roe 01": "hw/01_theory - J.Roe.ipynb"},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(collect, layout, capsys):
    laid, expected = LAYOUTS[layout]
    found, notes = collect(laid)
    assert {key: value.encode("latin-1").decode() for key, value in found.items()} == expected
    text = capsys.readouterr().out + str(notes)
    unmentioned = [path for path in laid if path not in (*expected.values(),) and path not in text]
    assert all(any(word in path for word in ASIDE) or path.endswith("/") for path in unmentioned), unmentioned


def test_what_may_be_of_several_people_is_named_and_not_graded(collect):
    others = files(*(f"{student}/01_theory.ipynb" for student in ("eve", "joe", "kim")))
    for two in (
        ("Section A/ada/01_theory.ipynb", "Section A/bob/01_theory.ipynb"),
        ("Section B/01_theory ada.ipynb", "Section B/01_theory bob.ipynb"),
        ("Section C/ada.zip/01_theory.ipynb", "Section C/ada/01_theory.ipynb", "Section C/bob/01_theory.ipynb"),
        ("Section D/01_theory.ipynb", "Section D/01_theory (1).ipynb", "Section D/01_theory (2).ipynb"),
    ):
        found, notes = collect(others | files(*two))
        section = two[0].partition("/")[0]
        assert set(found) == {"eve 01", "joe 01", "kim 01"} and "may be of two people" in notes[section][0]
        assert all(any(path in note for note in notes[section]) for path in two)


@pytest.mark.parametrize(
    "paths",
    [
        ("hw/01_theory.ipynb", "hw/01_theory (1).ipynb"),  # as Google Drive names two people's files
        ("HW1/ada/01_theory.ipynb", "HW2/ada/01_theory.ipynb", "HW1/bob/01_theory.ipynb", "HW2/bob/01_theory.ipynb"),
    ],
)
def test_nothing_to_grade_for_sure_gets_a_sentence(collect, paths):
    with pytest.raises(SystemExit, match=r"may be of two people; leave one, or give each person a folder") as stop:
        collect(files(*paths))
    assert all(path in str(stop.value) for path in paths)


def test_files_of_nobody_are_named(collect, capsys):
    found, _ = collect(files("hw/ada/01_theory.ipynb", "hw/bob/01_theory.ipynb", "hw/01_theory.ipynb", "notes.txt"))
    assert set(found) == {"ada 01", "bob 01"}
    said = capsys.readouterr().out
    assert "students 2, 2 by folders (ada: hw/ada)" in said
    assert "in no student's folder, not used: hw/01_theory.ipynb" in said
    assert "in no student's folder, not used: notes.txt" in said


def test_a_students_folder_beside_those_of_assignments(collect):
    laid = files("HW1/ada/01_theory.ipynb", "HW1/bob/01_theory.ipynb", "HW2/ada/02_latent_dimension.ipynb")
    assert set(collect(laid | files("eve/01_theory.ipynb"))[0]) == {"ada 01", "ada 02", "bob 01", "eve 01"}


def two_names(one, other):
    return files(f"HW1/{one}/01_theory.ipynb", "HW1/bob/01_theory.ipynb", f"HW2/{other}/02_latent_dimension.ipynb")


@pytest.mark.parametrize("one, other", [("ada,", "ada_"), ("ADA", "Ada")])
def test_names_that_would_be_one(collect, one, other):
    with pytest.raises(SystemExit, match=f"Both '{one}' and '{other}' in .* would be the student"):
        collect(two_names(one, other))


def test_a_name_as_macos_and_others_write_it_is_one(collect):
    found, _ = collect(two_names("Zoe\u0308", "Zo\u00eb"))
    assert set(found) == {"Zo\u00eb 01", "Zo\u00eb 02", "bob 01"}


def test_zip_files(collect):
    found, notes = collect(
        {
            "ada.zip": {"01_theory.ipynb": None, "__MACOSX/._01_theory.ipynb": None, ".DS_Store": None},
            "bob/my work.zip": {"my work/01_theory.ipynb": "bob", "my work/plot.png": None},
            "eve.zip": {"../../kim/01_theory.ipynb": "eve", "/etc\\x/02_latent_dimension.ipynb": "eve"},
            "kim/a.zip": {"b.zip": {"01_theory.ipynb": "kim"}},
            "Zoë.zip": {"Zoë/01_theory.ipynb": "zoe"},
        }
    )
    expected = {"ada 01": "01_theory.ipynb", "bob 01": "bob", "eve 01": "eve", "eve 02": "eve", "kim 01": "kim"}
    assert found == expected | {"Zoë 01": "zoe"}
    assert notes.pop("bob") == ["not used: bob/my work.zip/my work/plot.png"] and not any(notes.values())


def test_a_whole_export_in_a_zip_file(submissions, tmp_path):
    (tmp_path / "export.zip").write_bytes(
        zipped({"Zo\u00eb/01_theory.ipynb": None, "bob.zip": {"01_theory.ipynb": None}, "eve/a.txt": None})
    )
    found, notes = submissions.collect(tmp_path / "export.zip", tmp_path / "course")
    assert set(found) == {("Zoë", ONE), ("bob", ONE)} and notes["eve"] == [
        "no notebook",
        "not used: export.zip/eve/a.txt",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "cp437"])
def test_names_in_zip_files_of_macos_and_windows(collect, encoding):
    """Neither says how its names are encoded."""
    name = "Zo\u00eb".encode(encoding)
    stand_in = "Zo" + "_" * (len(name) - 2)
    archive = zipped({f"{stand_in}/01_theory.ipynb": "zoe", "bob/01_theory.ipynb": "bob"})
    found, _ = collect({"all.zip": archive.replace(stand_in.encode(), name)})
    assert found == {"Zo\u00eb 01": "zoe", "bob 01": "bob"}


def test_the_newest_in_a_zip_file_counts(collect):
    hand_in = {"ada/b/01_theory.ipynb": "old", "ada/01_theory.ipynb": "new", "bob/01_theory.ipynb": "bob"}
    assert collect({"all.zip": hand_in})[0] == {"ada 01": "new", "bob 01": "bob"}


def test_a_list_as_gradescopes_in_what_somebody_handed_in_says_nothing(collect):
    evil = {"submission_metadata.yml": GRADESCOPE.format(1, 2).replace("jane@u.edu", "bob"), "submission_1.zip": {}}
    evil |= {"submission_1/01_theory.ipynb": "evil"}
    found, _ = collect({"ada.zip": evil, "bob/01_theory.ipynb": "bob"})
    assert found == {"ada 01": "evil", "bob 01": "bob"}
    laid = {"e/submission_metadata.yml": GRADESCOPE.format(1, 2), "e/submission_1/01_theory.ipynb": "jane"}
    evil["submission_metadata.yml"] = evil["submission_metadata.yml"].replace("bob", "jane@u.edu")
    found, _ = collect(laid | {"e/submission_2/hw.zip": evil})
    assert found == {"jane@u.edu 01": "jane", "Rick Roe_ kim@u.edu 01": "evil"}


def test_a_list_that_is_not_used_is_told(collect, capsys):
    laid = {"e/submission_metadata.yml": GRADESCOPE.format(1, 2), "e/submission_1/01_theory.ipynb": "jane"}
    inner = {"submission_metadata.yml": GRADESCOPE.format(3, 4), "submission_3/02_latent_dimension.ipynb": "jane"}
    assert set(collect(laid | {"e/HW2.zip": inner})[0]) == {"jane@u.edu 01", "jane@u.edu 02"}
    collect(laid | {"solution/01_theory.ipynb": None})
    assert "e/submission_metadata.yml is not used, since solution/01_theory.ipynb" in capsys.readouterr().out


def test_people_whom_gradescopes_list_does_not_tell_apart_keep_its_numbers(collect):
    names = ["Wei Wang", "wei wang", "12", "x" * 200, "Zo\u00eb"]
    about = "submission_{}:\n  :submitters:\n  - :name: {}\n"
    text = "".join(about.format(i, name) for i, name in enumerate(names)) + "submission_5:\n"
    found, _ = collect(
        {"e/submission_metadata.yml": text} | files(*(f"e/submission_{i}/{ONE}.ipynb" for i in range(6)))
    )
    assert set(found) == {
        "submission_0 01",
        "submission_1 01",
        "12 01",
        "submission_3 01",
        "Zo\u00eb 01",
        "submission_5 01",
    }


def test_of_equal_times_the_highest_number_counts(submissions, tmp_path):
    """Moodle gives all files the time of the download."""
    names = ("ada/01_theory (2)", "ada/01_theory (10)", "bob/01_theory (1)", "bob/01_theory")
    for name in (*names, "eve/01_theory", "eve/01_theory-old", "kim/01_theory", "kim/Copy of 01_theory"):
        file = tmp_path / "all" / f"{name}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        os.utime(file, (1e9, 1e9))
    found, _ = submissions.collect(tmp_path / "all", tmp_path / "course")
    newest = ["ada/01_theory (10)", "bob/01_theory (1)", "eve/01_theory", "kim/Copy of 01_theory"]
    assert [file.read_text() for file in found.values()] == newest


@pytest.mark.parametrize("name", ["变" * 60, "1" * 5000, "Вариационный_автокодировщик_отчёт_по_первой_теме"])
def test_long_names_cost_no_time(collect, name):
    found, _ = collect({"ada.zip": {f"{name}.ipynb": None, "01_theory.ipynb": "ada"}, "bob/01_theory.ipynb": "bob"})
    assert found == {"ada 01": "ada", "bob 01": "bob"}


def test_endings_are_no_names(collect):
    laid = files("ada/01_theory.nbconvert.ipynb", "ada/02_latent_dimension (1).corrected.ipynb", "bob/01_theory.ipynb")
    found, _ = collect(laid | files("bob/01_theory.pdf", "01_theory.pdf"))
    assert set(found) == {"ada 01", "ada 02", "bob 01"}
    found, _ = collect(files("01_theory - Jane Doe.ipynb", "01_theory - Jane Doe.v2.ipynb", "01_theory - J.Roe.ipynb"))
    assert found == {"Jane Doe 01": "01_theory - Jane Doe.v2.ipynb", "J.Roe 01": "01_theory - J.Roe.ipynb"}


@pytest.mark.parametrize(
    "name",
    [
        "hw1_question_1_2_01_theory.ipynb",
        "Theory,(1)/01_theory.ipynb",
        "notes, part(a)_01_theory.ipynb",
        "my–hw_123_4567_x/01_theory.ipynb",
    ],
)
def test_two_who_call_their_work_alike_stay_two(collect, name):
    laid = files(f"ada/{name}", f"bob/{name}")
    assert {key.partition(" ")[0] for key in collect(laid)[0]} == {"ada", "bob"}


def test_a_zip_file_called_as_one_of_its_notebooks_is_not_only_for_that(collect):
    for inner in ("", "01_theory/"):
        late = {f"{inner}01_theory.ipynb": "new", f"{inner}02_latent_dimension.ipynb": "new"}
        laid = {"ada/02_latent_dimension.ipynb": "old", "ada/01_theory.zip": late, "bob/01_theory.ipynb": "bob"}
        assert collect(laid)[0] == {"ada 01": "new", "ada 02": "new", "bob 01": "bob"}


def flagged(archive, offset, value):
    """A zip file of one member with another value at a place of its entry in the directory."""
    start = archive.index(b"PK\x01\x02") + offset
    return archive[:start] + value + archive[start + len(value) :]


def test_zip_files_that_are_not_read(collect, submissions, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_FILES", 5)
    monkeypatch.setattr(submissions, "MOST_BYTES", 2**30)
    one = zipped({"01_theory.ipynb": "x" * 1000})
    nest = {"01_theory.ipynb": None}
    for _ in range(4):
        nest = {"more.zip": nest}
    link = flagged(one, 38, (stat.S_IFLNK << 16).to_bytes(4, "little"))
    found, notes = collect(
        {
            "many.zip": {f"{i}.txt": None for i in range(9)},
            "big.zip": flagged(one, 24, (2**30 + 1).to_bytes(4, "little")),
            "nested.zip": nest,
            "link.zip": link,
            "locked.zip": flagged(one, 8, b"\x01"),
            "cut.zip": one[:-30],
            "wrong.zip": flagged(one, 16, b"\0\0\0\0"),  # the checksum
            "endless.zip": flagged(one, 24, b"\x05\0\0\0"),  # says that it has 5 bytes
            "strange.zip": flagged(one, 10, b"\x63"),  # a kind of compression that Python does not know
            "ada.tar.gz": b"",
            "bob.rar": b"",
            "eve.7z": b"",
            "kim/01_theory.ipynb": None,
        }
    )
    assert set(found) == {"kim 01"}
    for student, said in {
        "many": "more than 5 files",
        "big": "more than 1 GB",
        "nested": "unpack it",
        "link": "a link",
        "locked": "a password",
        "cut": "damaged",
        "wrong": "cannot be read",
        "endless": "cannot be read",
        "strange": "cannot be read",
        "ada": "ada.tar.gz (unpack it, or ask",
        "bob": "bob.rar (unpack it",
        "eve": "eve.7z (unpack it",
    }.items():
        assert any(said in note for note in notes[student]), (student, notes[student])


def test_copies_are_utf8(submissions, tmp_path):
    """nbformat reads nothing else; what is no notebook is copied as it is."""
    text = nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Zo\u00eb")]))
    damaged = {
        "empty": b"",
        "page": b"<html>\xff",
        "wide page": "<html>".encode("utf-16"),
        "zip": zipped({"a": "b"}),
        "cut": text.encode()[:50],
        "latin": b"\xe9{",
    }
    for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "all" / name).mkdir(parents=True)
        (tmp_path / "all" / name / "01_theory.ipynb").write_bytes(text.encode(name))
    for name, content in damaged.items():
        (tmp_path / "all" / name).mkdir()
        (tmp_path / "all" / name / "01_theory.ipynb").write_bytes(content)
    before = contents(tmp_path / "all")
    found, _ = submissions.collect(tmp_path / "all", tmp_path / "course")
    assert contents(tmp_path / "all") == before
    for (name, _), file in found.items():
        assert file.read_bytes() == damaged.get(name, text.encode())
        if name not in damaged:
            assert nbformat.read(file, as_version=4).cells[0].source == "Zo\u00eb"
    assert len(found) == 11


def test_only_new_work_is_copied(submissions, tmp_path):
    file = tmp_path / "all" / "ada" / "01_theory.ipynb"
    file.parent.mkdir(parents=True)
    for content, is_new in (("one", True), ("one", False), ("two", True)):
        file.write_text(content)
        ((_, copy),) = submissions.collect(tmp_path / "all", tmp_path / "course")[0].items()
        assert (copy.read_text() == content) == is_new
        copy.write_text("graded")  # grading may change its copy
    assert not list((tmp_path / "course").rglob(".vae*"))


def test_what_is_no_notebook_of_ours_is_named(collect):
    laid = files("ada/01_theory.ipynb.txt", "ada/homework.ipynb", "bob/01_theory.py", "bob/01_theory.ipynb.json")
    laid |= files("eve/01 Theory.IPYNB", "eve/01_theory.html", *(f"eve/vae_lib/{i}.py" for i in range(9)), "eve/a.txt")
    found, notes = collect(laid)
    assert found == {"eve 01": "eve/01 Theory.IPYNB"}
    assert notes == {
        "ada": ["no notebook", "not used: ada/01_theory.ipynb.txt", "not used: ada/homework.ipynb"],
        "bob": ["no notebook", "not used: bob/01_theory.py", "not used: bob/01_theory.ipynb.json"],
        "eve": ["not used: eve/01_theory.html", "not used: eve/vae_lib/ (9 files)", "not used: eve/a.txt"],
    }


def test_only_files_of_their_own_are_collected(submissions, tmp_path, capsys):
    folder = tmp_path / "submissions"
    for name in ("ada", " grace ", "alan", ".hidden"):
        (folder / name).mkdir(parents=True)
    (folder / "ada" / "deep").mkdir()
    (folder / "ada" / "deep" / f"Copy of {ONE}.ipynb").write_text("new")
    (folder / "ada" / f"{ONE}.ipynb").write_text("old")
    os.utime(folder / "ada" / f"{ONE}.ipynb", (0, 0))
    (folder / "alan" / f"{TWO}.ipynb").mkdir()
    (folder / " grace " / f"{ONE}.ipynb").symlink_to(folder / "ada" / f"{ONE}.ipynb")
    (folder / "bob").symlink_to(folder / "ada")
    found, notes = submissions.collect(folder, tmp_path / "course")
    assert {key: file.read_text() for key, file in found.items()} == {("ada", ONE): "new"}
    assert notes["ada"] == [f"not used: ada/{ONE}.ipynb"] and notes["alan"] == ["no notebook"]
    assert notes["grace"] == ["no notebook", f"not read:  grace /{ONE}.ipynb (a link)"]
    assert set(notes) == {"ada", "grace", "alan"} and "not read: bob (a link)" in capsys.readouterr().out


PLACES = {
    "canvas": lambda i, name: f"canvas/canvas{i}_{1000 + i}_{5000 + i}_{name}",
    "moodle": lambda i, name: f"moodle/Moodle {i}_{1000 + i}_assignsubmission_file_/{name}",
    "blackboard": lambda i, name: f"blackboard/HW 1_blackboard{i}_attempt_2026-11-20-10-11-12_{name}",
    "brightspace": lambda i, name: f"brightspace/1-2 - Bright {i} - Nov 20, 2026 1011 AM/{name}",
    "by hand": lambda i, name: f"by hand/hand {i}/{name}",
}
NAMES = {"canvas": "canvas{0}_{1}", "moodle": "Moodle {0}", "blackboard": "blackboard{0}", "brightspace": "Bright {0}"}
GOOD = '{"cells": []}'
HANDED_IN = [  # {file: content}, the copy, what is said
    ({"01_theory.ipynb": GOOD}, GOOD, None),
    ({"01_theory.ipynb": GOOD.encode("utf-16")}, GOOD, None),
    ({"01_theory.ipynb": GOOD.encode("utf-8-sig")}, GOOD, None),
    ({"01_theory.ipynb": '{"cells"'}, '{"cells"', None),
    ({"01_theory.ipynb": b"\n"}, "\n", None),
    ({"01_theory.ipynb": "<html>"}, "<html>", None),
    ({"01_theory.ipynb.txt": GOOD}, None, "no notebook"),
    ({"homework.zip": {"hw/01_theory.ipynb": GOOD}}, GOOD, None),
    ({"homework.zip": b"PK"}, None, "homework.zip (damaged"),
    ({"01_theory.rar": b"Rar"}, None, "01_theory.rar (unpack it"),
]


def test_a_class_of_sixty(collect, capsys):
    laid, expected, words = {}, {}, {}
    for platform, place in PLACES.items():
        for i in range(12):
            student = NAMES.get(platform, "hand {0}").format(i, 1000 + i)
            handed_in, copy, words[student] = HANDED_IN[i % 10]
            laid |= {place(i, name): content for name, content in handed_in.items()}
            expected |= {f"{student} 01": copy} if copy else {}
    found, notes = collect(laid)
    assert found == expected and set(notes) == set(words) and len(words) == 60
    for student, word in words.items():
        assert any(word in note for note in notes[student]) if word else not notes[student]
    said = capsys.readouterr().out
    assert "students 60, 12 by" in said and said.count("12 by") == 5 and "in no student's" not in said


def test_make_passes_names_with_blanks_on():
    make = ["make", "--no-print-directory", "-n", "-o", ".venv/.grading", "grade"]
    for given in (["my folder"], []):
        said = subprocess.run(
            [*make, *(f"SUBMISSIONS={name}" for name in given)], cwd=settings.REPOSITORY, capture_output=True
        )
        assert shlex.split(said.stdout.decode())[2:] == given


ASIDE = ("index.html", "grades.csv", "timestamp.txt", ".yml", ".git/", "-12.txt", "Feedback Attachment(s)")


def test_who_is_known_is_found_also_alone(submissions, tmp_path):
    """Where one folder holds all, the students' folders lie in it, unless it is called like a student."""

    def found(export, *paths):
        for path in paths:
            (tmp_path / export / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / export / path).write_text(path)
        return set(submissions.collect(tmp_path / export, tmp_path / "course")[0])

    both = {("Ann Poe", ONE), ("Jane Doe", ONE)}
    assert found("all", f"hw/Ann Poe/lab/{ONE}.ipynb", f"hw/Jane Doe/lab/{ONE}.ipynb") == both
    late = found("late", f"Ann Poe/week1/{ONE}.ipynb", f"Ann Poe/week2/{TWO}.ipynb")
    assert late == {("Ann Poe", ONE), ("Ann Poe", TWO)}
    assert found("later", f"hw/Ann Poe/{TWO}.ipynb") == {("Ann Poe", TWO)}
    assert found("Doe", f"Doe, J/{ONE}.ipynb", f"Roe, J/{ONE}.ipynb") == {("Doe_ J", ONE), ("Roe_ J", ONE)}
    assert found("Doe2", f"Doe, J/1/{ONE}.ipynb", f"Doe, J/2/{TWO}.ipynb") == {("Doe_ J", ONE), ("Doe_ J", TWO)}
