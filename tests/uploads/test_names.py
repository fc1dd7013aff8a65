from __future__ import annotations

import pytest

from uploads import names
from uploads._internal.protocols.onlyoffice.conf import LONGEST_TITLE
from uploads.exceptions import InvalidName


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        ("report.pdf", "report.pdf"),
        ("  report.pdf ", "report.pdf"),
        ('a*b+c:d"e<f>g?h|i\\j/k', "a_b_c_d_e_f_g_h_i_j_k"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\report.pdf", "report.pdf"),
        ("/home/x/report.pdf", "report.pdf"),
        ("AC/DC live.mp3", "AC_DC live.mp3"),
        ("U\u0308bergro\u0308ße.pdf", "Übergröße.pdf"),
        ("tab\there\x00\x1f\x7f.txt", "tab_here___.txt"),
        ("😀 ünïcödé 文.txt", "😀 ünïcödé 文.txt"),
        ("half\ud83d.txt", "half_.txt"),
        ("evil\u202egnp.exe", "evil_gnp.exe"),
        ("x" * 300 + ".docx", "x" * 165 + ".docx"),
        ("x." + "y" * 300, ("x." + "y" * 300)[:170]),
    ],
)
def test_clean_replaces_characters_and_truncates(sent: str, title: str) -> None:
    assert names.clean(sent, LONGEST_TITLE) == title


@pytest.mark.parametrize("sent", ["", "   ", ".", "..", "\t"])
def test_names_without_usable_characters_are_refused(sent: str) -> None:
    with pytest.raises(InvalidName):
        names.clean(sent)


@pytest.mark.parametrize(
    ("path", "titles"),
    [("", []), ("/", []), ("a/b/", ["a", "b"]), ("/a//b", ["a", "b"]), ("a\\b", ["a", "b"]), (" a / b ", ["a", "b"])],
)
def test_split_path_skips_empty_segments(path: str, titles: list[str]) -> None:
    assert names.split_path(path) == titles


@pytest.mark.parametrize("path", ["a/../b", "./a", ".."])
def test_split_path_refuses_dots(path: str) -> None:
    with pytest.raises(InvalidName):
        names.split_path(path)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("🎉.png", "file.png"),
        ("🎉🎉", "file"),
        (".bashrc", "bashrc"),
        ("con.txt", "_con.txt"),
    ],
)
def test_object_names_keep_the_extension(title: str, name: str) -> None:
    assert names.for_storage(title) == name
