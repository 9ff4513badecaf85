#!/usr/bin/env python3
"""Holds README.md's table of reasons and the list in proxy/base/reason.hpp to the same names and reply statuses."""

import re

from tree import finish, read

HEADER = "proxy/base/reason.hpp"
ENTRY = re.compile(r"^\s*X\((\w+),\s*(\d+),", re.MULTILINE)


def cells(row):
    return [cell.strip().strip("`") for cell in row.strip().strip("|").split("|")]


def table(text):
    """{reason: status} of the Markdown table whose first column is headed `reason`; a status that is no number is 0."""
    rows = iter(text.splitlines())
    for row in rows:
        head = [cell.lower() for cell in cells(row)]
        if row.startswith("|") and head[0] == "reason":
            status = head.index("status") if "status" in head else None
            next(rows)
            found = {}
            for entry in rows:
                if not entry.startswith("|"):
                    break
                columns = cells(entry)
                digits = columns[status] if status is not None else ""
                found[columns[0]] = int(digits) if digits.isdigit() else 0
            return found, status is not None
    return {}, False


declared = {name: int(status) for name, status in ENTRY.findall(read(HEADER))}
documented, with_status = table(read("README.md"))

findings = []
if not declared:
    findings.append(f"{HEADER}:1: no reason was found")
if not documented:
    findings.append("README.md:1: no table whose first column is headed `reason`")
else:
    findings += [f"README.md:1: {name} is missing from the table of reasons" for name in declared.keys() - documented]
    findings += [f"README.md:1: {name} is no reason of {HEADER}" for name in documented.keys() - declared]
    if with_status:
        findings += [
            f"README.md:1: {name} has status {documented[name]} here and {declared[name]} in {HEADER}"
            for name in declared.keys() & documented
            if documented[name] != declared[name]
        ]
finish(sorted(findings))
