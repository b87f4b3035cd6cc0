#!/usr/bin/env python3
"""Holds deny.toml without cargo-deny: licences, sources and bans of everything that is built in.

cargo-deny takes minutes to compile, so `make lint` uses it only where it is installed. This reads the same file and
understands the part of it that the file uses; anything else in it is an error, never silently passed over.
"""

import json
import re
import subprocess
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
UNDERSTOOD = {
    "licenses": {"confidence-threshold", "allow", "private"},
    "sources": {"unknown-registry", "unknown-git"},
    "bans": {"multiple-versions", "wildcards", "deny"},
}


def permitted(expression, allowed):
    """Whether an SPDX expression can be satisfied by allowed licences alone."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def alternatives(at):
        value, at = conjunction(at)
        while at < len(words) and words[at] == "OR":
            other, at = conjunction(at + 1)
            value = value or other
        return value, at

    def conjunction(at):
        value, at = single(at)
        while at < len(words) and words[at] == "AND":
            other, at = single(at + 1)
            value = value and other
        return value, at

    def single(at):
        if words[at] == "(":
            value, at = alternatives(at + 1)
            if words[at] != ")":
                raise ValueError(expression)
            return value, at + 1
        name, at = words[at], at + 1
        if at < len(words) and words[at] == "WITH":
            name, at = f"{name} WITH {words[at + 1]}", at + 2
        return name in allowed, at

    try:
        value, end = alternatives(0)
    except (IndexError, ValueError):
        return False
    return value and end == len(words)


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    wrong = []
    for table, keys in rules.items():
        wrong += [f"deny.toml: [{table}] {key} is not understood" for key in keys.keys() - UNDERSTOOD.get(table, set())]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    members = set(metadata["workspace_members"])
    allowed = set(rules["licenses"]["allow"])
    banned = {entry["name"] for entry in rules["bans"]["deny"]}
    for package in metadata["packages"]:
        label = f"{package['name']} {package['version']}"
        if package["id"] in members:
            # A path or git dependency has no need of a version; one of crates.io must name it.
            wrong += [f"{label}: {need['name']} = \"*\"" for need in package["dependencies"] if need["req"] == "*" and need["source"]]
            continue
        if package["source"] != CRATES_IO:
            wrong.append(f"{label}: comes from {package['source']}")
        if package["name"] in banned:
            wrong.append(f"{label}: is banned")
        if not permitted(package["license"] or "none", allowed):
            wrong.append(f"{label}: licence {package['license'] or package['license_file'] or 'unknown'} is not allowed")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    print(f"{len(metadata['packages'])} packages: licences, sources and bans {'wrong' if wrong else 'ok'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
