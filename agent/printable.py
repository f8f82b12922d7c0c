"""Text that anybody may have worded, for terminals and logs."""


def printable(text: str) -> str:
    """Return `text` without what would drive a terminal or break its encoding: names of files are anybody's bytes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
