"""Reads YAML files, says what their schemas have against them, and prints them as JSON for the tests.

usage: documents.py kubernetes|compose FILE...
Prints {"errors": [text], "documents": [{"file": name, "content": …}]}. Whether the contents fit the program is the tests' business.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

# The oldest that has everything that the manifests use, and the newest that the schemas are known of.
VERSIONS = ["1.30", "1.37"]
# Not of the API itself: kustomize reads the one, the Prometheus operator the other.
OTHERS = ["Kustomization", "ServiceMonitor"]


def against_kubernetes(content):
    if content["kind"] in OTHERS:
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(content, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {error.message}"


def against_compose(content):
    # Where the package lies, without running it.
    package = Path(find_spec("compose").submodule_search_locations[0])
    schema = json.loads((package / "config/compose_spec.json").read_text())
    for error in jsonschema.Draft7Validator(schema).iter_errors(content):
        yield f"{error.json_path}: {error.message}"


def main(kind, files):
    check = {"kubernetes": against_kubernetes, "compose": against_compose}[kind]
    errors, documents = [], []
    for file in files:
        for content in yaml.safe_load_all(Path(file).read_text()):
            errors += [f"{file}: {error}" for error in check(content)]
            documents.append({"file": Path(file).name, "content": content})
    json.dump({"errors": errors, "documents": documents}, sys.stdout)


main(sys.argv[1], sys.argv[2:])
