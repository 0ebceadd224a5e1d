"""Finding what was handed in, whatever platform exported it."""

import os

import pytest

from vae_lib import settings

pytest.importorskip("nbgrader", reason="needs pip install -e .[grading]")
TEACHING = settings.REPOSITORY / "notebooks" / "teaching"
STEM = "01_theory"


@pytest.fixture
def collect(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(TEACHING)
    import submissions

    return lambda folder: submissions.collect(folder, tmp_path / "course")


def test_only_files_of_their_own_are_collected(collect, tmp_path):
    submissions = tmp_path / "submissions"
    for name in ("ada", " grace ", "alan", ".hidden"):
        (submissions / name).mkdir(parents=True)
    (submissions / "ada" / "deep").mkdir()
    (submissions / "ada" / "deep" / f"Copy of {STEM}.ipynb").write_text("new")
    (submissions / "ada" / f"{STEM}.ipynb").write_text("old")
    os.utime(submissions / "ada" / f"{STEM}.ipynb", (0, 0))
    (submissions / "alan" / "02_latent_dimension.ipynb").mkdir()
    (submissions / " grace " / f"{STEM}.ipynb").symlink_to(submissions / "ada" / f"{STEM}.ipynb")
    found, notes = collect(submissions)
    assert {key: file.read_text() for key, file in found.items()} == {("ada", STEM): "new"}
    assert notes["ada"] == [f"not used: {STEM}.ipynb"] and notes["alan"] == ["no notebook"]
    assert notes["grace"] == [f"not used: {STEM}.ipynb", "no notebook"] and set(notes) == {"ada", "grace", "alan"}
    (submissions / "ada,").mkdir()
    (submissions / "ada_").mkdir()
    with pytest.raises(SystemExit, match="would be the student 'ada_'"):
        collect(submissions)
