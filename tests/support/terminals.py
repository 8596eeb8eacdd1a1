"""A stream that says it is a terminal."""

import io


class AsTerminal(io.StringIO):
    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def isatty(self) -> bool:
        return True
