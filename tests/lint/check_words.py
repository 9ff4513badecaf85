#!/usr/bin/env python3
"""Rules about words: no unfinished work, no paths of one machine, no sleeping tests; headers open with their prologue,
unit tests stand in the suite of their folder."""

import re

from tree import CPP, files, finish, lines_matching, read, without_comments

TEXT = {"", ".cpp", ".hpp", ".py", ".md", ".txt", ".cmake", ".json", ".yaml", ".yml", ".service", ".sh"}
# Written in pieces, so that this file obeys its own rules.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}*-])/(root|home|work)/")
SLEEP = re.compile(r"\bsleep_(for|until)\b|\btime\.sl" r"eep\(|\busleep\(")
POLLS = "tests/e2e/harness.py"  # holds the one loop that waits for a condition
SUITE = re.compile(r'\bTEST_SUITE(?:_BEGIN)?\("([^"]*)"\)')
CASE = re.compile(r"\b(TEST_CASE|SCENARIO)\w*\(")


def prologue(path, text):
    """A header names itself in its first line and goes on to say why it exists."""
    lines = text.splitlines()
    if not lines or lines[0] != f"// {path}":
        yield 1, f"the first line is not `// {path}`"
    elif not any(re.match(r"// \S", line) for line in lines[1:4]):
        yield 2, "the prologue says nothing but the path"


def suites(path, text):
    """CTest runs the unit tests suite by suite: a case outside its folder's suite would never run."""
    folder = path.split("/")[2]
    found = list(lines_matching(text, SUITE))
    for line, suite in found:
        if suite[1] != folder:
            yield line, f'the suite of this folder is "{folder}"'
    first = min((line for line, _ in found), default=None)
    for line, _ in lines_matching(text, CASE):
        if first is None or line < first:
            yield line, f'this case stands outside TEST_SUITE("{folder}")'


findings = []
for file in files():
    if file.suffix not in TEXT:
        continue
    path, text = str(file), read(file)
    wrong = []
    wrong += [(line, f"{match[0]}: finish it or leave it out") for line, match in lines_matching(text, UNFINISHED)]
    wrong += [(line, f"{match[0]} is a path of one machine") for line, match in lines_matching(text, MACHINE_PATH)]
    if path.startswith("tests/") and path != POLLS:
        code = without_comments(text) if file.suffix in CPP else text
        wrong += [(line, "tests never sleep") for line, _ in lines_matching(code, SLEEP)]
    if path.startswith("proxy/") and file.suffix == ".hpp":
        wrong += prologue(path, text)
    if path.startswith("tests/unit/") and path.endswith("_test.cpp"):
        wrong += suites(path, text)
    findings += [f"{path}:{line}: {what}" for line, what in wrong]
finish(findings)
