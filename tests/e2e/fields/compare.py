"""Compares what the SDK recorded with what arrived at the backend, field by field.

usage: compare.py DIR

DIR/requests/*        bodies of requests to /v1/traces, in order of arrival
DIR/recorded.jsonl    one line per span that ended, in the SDK's words; if it is there, both directions are compared
DIR/expected.json     what must be there by value

The decoder is the one from PyPI's `opentelemetry-proto`: it shares no code with the project. Exits with 1 and
prints each difference if there are any.
"""

import json
import pathlib
import sys

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from difference import Comparison
from expectation import check_expected
from mutation import mutations
from otlp import Malformed, arrived, recorded

DIFFERENCES_SHOWN_MAX = 50


def main(arguments):
    if len(arguments) != 1:
        print(__doc__)
        return 2
    try:
        faults = check(pathlib.Path(arguments[0]))
    except Malformed as fault:
        faults = [str(fault)]
    for fault in faults[:DIFFERENCES_SHOWN_MAX]:
        print(f"difference: {fault}")
    if len(faults) > DIFFERENCES_SHOWN_MAX:
        print(f"and {len(faults) - DIFFERENCES_SHOWN_MAX} more")
    return 1 if faults else 0


def check(directory):
    """Everything that is wrong, a line each."""
    spans, faults = read_requests(sorted((directory / "requests").iterdir()))
    capture = directory / "recorded.jsonl"
    if capture.exists():
        lines = [json.loads(line) for line in capture.read_text(encoding="utf-8").split("\n") if line]
        differences, fields = compare_all(lines, spans)
        print(f"compared {len(lines)} spans, {fields} fields: {len(differences)} differences")
        faults += differences or compare_the_comparison(lines, spans)
    expected = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
    missed, values = check_expected(expected, spans)
    print(f"expected {values} values in {len(spans)} spans: {len(missed)} differences")
    return faults + missed


def read_requests(files):
    """All spans that arrived, each with its scope and resource, by (trace id, span id); and what is odd."""
    spans, faults = {}, []
    for file in files:
        request = ExportTraceServiceRequest()
        try:
            request.ParseFromString(file.read_bytes())
        except DecodeError as fault:
            raise Malformed(f"{file.name} is no OTLP request: {fault}") from fault
        for of_resource in arrived(request)["resource_spans"]:
            if not of_resource["scope_spans"]:
                faults.append(f"{file.name} has a resource without scopes")
            for of_scope in of_resource["scope_spans"]:
                if not of_scope["spans"]:
                    faults.append(f"{file.name} has a scope without spans")
                for span in of_scope["spans"]:
                    if key(span) in spans:
                        faults.append(f"{title(span)} arrived twice")
                    spans[key(span)] = {
                        "resource": in_order(of_resource["resource"]),
                        "resource_schema_url": of_resource["schema_url"],
                        "scope": of_scope["scope"],
                        "scope_schema_url": of_scope["schema_url"],
                        "span": span,
                    }
    return spans, faults


def in_order(resource):
    """The SDK keeps the attributes of a resource in a map without an order, all others in lists."""
    if resource is None:
        return None
    return {**resource, "attributes": sorted(resource["attributes"], key=lambda attribute: attribute["key"])}


def compare_all(lines, spans):
    """The differences, and how many fields were compared."""
    comparison, seen = Comparison("recorded"), set()
    for line in lines:
        want = recorded(line)
        want["resource"] = in_order(want["resource"])
        span = want["span"]
        if key(span) in seen:
            comparison.differences.append(f"{title(span)} was recorded twice")
        seen.add(key(span))
        if key(span) in spans:
            comparison.compare(title(span), want, spans[key(span)])
        else:
            comparison.differences.append(f"{title(span)} was recorded and did not arrive")
    more = [of["span"] for identity, of in spans.items() if identity not in seen]
    comparison.differences += [f"{title(span)} arrived and was not recorded" for span in more]
    return comparison.differences, comparison.fields


def compare_the_comparison(lines, spans):
    """One that does not see a change is worth nothing."""
    trials = [(kind, [*lines[:number], changed, *lines[number + 1:]]) for kind, number, changed in mutations(lines)]
    trials += [("a span that is missing", lines[1:]), ("a span twice", [*lines, lines[0]])]
    unseen = [kind for kind, changed in trials if not compare_all(changed, spans)[0]]
    print(f"tried {len(trials)} changes, one of each kind of field: {len(unseen)} not seen")
    return [f"the comparison does not see {kind}" for kind in unseen]


def key(span):
    return span["trace_id"], span["span_id"]


def title(span):
    return f"span {span['name']!r} {span['span_id']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
