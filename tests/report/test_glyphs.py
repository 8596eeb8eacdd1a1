"""ASCII where the locale or the stream takes nothing else."""

import io

import pytest

from aneperf.glyphs import in_ascii, takes_unicode


@pytest.mark.parametrize(
    ("variables", "unicode"),
    [
        ({}, True),
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "de_DE.utf8@euro"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),  # Python sets it so
        ({"LC_CTYPE": "UTF-8"}, True),  # as a Mac's terminal does
    ],
)
def test_the_locale_decides(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], unicode: bool
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert takes_unicode(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) is unicode
    assert takes_unicode(io.TextIOWrapper(io.BytesIO(), encoding="ascii")) is False


def test_signs_are_spelled_and_letters_stay() -> None:
    assert in_ascii("± ─▁█ 2×3 µs Ω") == "+/- -18 2x3 us Ω"
