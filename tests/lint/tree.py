"""The files of the repository as the checks see them, and how a check reports and ends."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {".git", ".cache", "build", "__pycache__"}
CPP = (".cpp", ".hpp")
# Literals come first so that a `//` inside one begins no comment.
TOKEN = re.compile(
    r""" "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])' | (?P<comment> //[^\n]* | /\*.*?\*/ ) """,
    re.DOTALL | re.VERBOSE,
)


def files(*tops, suffixes=None):
    """Every file under the given top-level names (all of them if none), as paths relative to the root, in order."""
    starts = [ROOT / top for top in tops] if tops else sorted(ROOT.iterdir())
    for start in starts:
        found = sorted(start.rglob("*")) if start.is_dir() else [start]
        for path in found:
            relative = path.relative_to(ROOT)
            if path.is_file() and not SKIPPED & set(relative.parts) and (not suffixes or path.suffix in suffixes):
                yield relative


def read(relative):
    return (ROOT / relative).read_text(encoding="utf-8", errors="replace")


def without_comments(text):
    """C++ with its comments blanked and its lines kept, so that prose never trips a rule about code."""
    return TOKEN.sub(lambda token: "\n" * token[0].count("\n") if token["comment"] else token[0], text)


def lines_matching(text, pattern):
    """(line number, match) of every match of the compiled pattern."""
    for match in pattern.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match


def finish(findings):
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
