#!/usr/bin/env python3
"""Holds the arrows between the folders of proxy/: who may include whom, and which library is used where."""

import re

from tree import CPP, files, finish, lines_matching, read, without_comments

# A folder may include itself and what its line names; `main` is what lies directly in proxy/.
LAYERS = {
    "base": "",
    "policy": "base",
    "exchange": "policy base",
    "http": "base",
    "config": "exchange policy http base",
    "telemetry": "exchange policy http base",
    "net": "telemetry config exchange policy http base",
    "admin": "net telemetry config exchange policy http base",
    "server": "admin net telemetry config exchange policy http base",
    "main": "server admin net telemetry config exchange policy http base",
}
CORE = ("base", "policy", "exchange", "http")

# Library, how its headers begin, the files that may include it (a pattern on the whole path).
LIBRARIES = [
    ("Asio or Beast", r"boost/(asio|beast)", r"proxy/(net|admin|server)/.*"),
    ("yaml-cpp", r"yaml-cpp/", r"proxy/config/load[^/]*\.cpp"),
    ("RE2", r"re2/", r"proxy/http/route_table\.cpp"),
    ("spdlog", r"spdlog/", r"proxy/((telemetry|server)/.*|main\.cpp)"),
    ("prometheus-cpp", r"prometheus/", r"proxy/((telemetry|admin|server)/.*|main\.cpp)"),
    ("OpenSSL", r"openssl/", r"proxy/net/tls_[a-z_]+\.(cpp|hpp)"),
    ("CLI11", r"CLI/", r"proxy/main\.cpp"),
]

# What reads a clock or draws entropy, and the files in which that is allowed.
SOURCES = [
    ("a clock read", r"::now\s*\(|\bclock_gettime\s*\(|\bgettimeofday\s*\(|\btime\s*\(\s*(nullptr|NULL|0)\s*\)",
     r"proxy/net/clock\.(cpp|hpp)"),
    ("entropy", r"\brandom_device\b|\bgetrandom\s*\(", r"proxy/(net/clock|server/entropy)\.(cpp|hpp)"),
]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
# Headers of the standard library have neither folder nor suffix; the compiler's vector intrinsics are the exception.
STANDARD = re.compile(r"[a-z_]+|[a-z]mmintrin\.h|cpuid\.h")


def folder_of(path):
    """`net` for proxy/net/clock.hpp, `main` for proxy/main.cpp."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else "main"


def check_include(path, folder, quoted, header):
    if quoted:
        if not header.startswith("proxy/"):
            return f'"{header}" is not written from the root of the repository'
        target = folder_of(header)
        if target != folder and target not in LAYERS[folder].split():
            return f"{folder}/ may not include {target}/"
        return None
    for library, prefix, allowed in LIBRARIES:
        if re.match(prefix, header):
            return None if re.fullmatch(allowed, path) else f"{library} is not used here"
    if folder in CORE and not STANDARD.fullmatch(header):
        return f"{folder}/ uses the standard library alone, not <{header}>"
    return None


findings = []
for file in files("proxy", suffixes=CPP):
    path = str(file)
    folder = folder_of(path)
    if folder not in LAYERS:
        findings.append(f"{path}:1: {folder}/ is not in the layer table")
        continue
    text = without_comments(read(file))
    for line, include in lines_matching(text, INCLUDE):
        wrong = check_include(path, folder, include[1] == '"', include[2])
        if wrong:
            findings.append(f"{path}:{line}: {wrong}")
    for source, pattern, allowed in SOURCES:
        if not re.fullmatch(allowed, path):
            for line, _ in lines_matching(text, re.compile(pattern)):
                findings.append(f"{path}:{line}: {source} outside {allowed}")
finish(findings)
