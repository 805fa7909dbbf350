"""The font that a PDF embeds: the one a setting names, else a font of the system that has the letters needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

VARIABLE = "DIPPER_REPORT_FONT"
CJK = "/usr/share/fonts/opentype/noto/NotoSansCJK-{weight}.ttc"
SIMPLIFIED = 2  # number of the simplified Chinese face in Noto's collections


class NoFont(Exception):
    """No font has the letters of a language; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Fonts:
    """Files of the regular and the bold face, and the face's number in a collection."""

    regular: Path
    bold: Path
    face: int = 0


_TRUETYPE = "/usr/share/fonts/truetype"
_LATIN = (
    Fonts(Path(f"{_TRUETYPE}/noto/NotoSans-Regular.ttf"), Path(f"{_TRUETYPE}/noto/NotoSans-Bold.ttf")),
    Fonts(Path(f"{_TRUETYPE}/dejavu/DejaVuSans.ttf"), Path(f"{_TRUETYPE}/dejavu/DejaVuSans-Bold.ttf")),
)
_CJK = (
    Fonts(Path(CJK.format(weight="Regular")), Path(CJK.format(weight="Bold")), SIMPLIFIED),
    Fonts(Path(f"{_TRUETYPE}/wqy/wqy-microhei.ttc"), Path(f"{_TRUETYPE}/wqy/wqy-microhei.ttc")),
)


def fonts_for(text: str, configured: str | None = None) -> Fonts:
    """Fonts for a text. `configured`: one file, or REGULAR:BOLD. Raises NoFont."""
    if configured:
        files = [Path(part) for part in configured.split(":")]
        for file in files:
            if not file.is_file():
                raise NoFont(f"{VARIABLE}: expected a font file, or two as REGULAR:BOLD, got {str(file)!r}")
        face = SIMPLIFIED if files[0].name.startswith("NotoSansCJK") and files[0].suffix == ".ttc" else 0
        return Fonts(files[0], files[-1], face)
    wide = any("\u2e80" <= letter <= "\uffef" for letter in text)
    for fonts in _CJK if wide else (*_CJK, *_LATIN):
        if fonts.regular.is_file() and fonts.bold.is_file():
            return fonts
    what = "Chinese letters" if wide else "a text"
    raise NoFont(f"pdf: expected a font for {what}: install fonts-noto-cjk (Debian) or set {VARIABLE}, got none")
