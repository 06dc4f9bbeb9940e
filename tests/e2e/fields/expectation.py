"""What must be there by value, whatever the SDK recorded: `expected.json`.

resource        attributes that every resource has
spans           how many spans arrived; absent = any number
absent_traces   traces of which nothing may arrive
invocations     for each invocation its span, found by `faas.invocation_id`, as a view
named           by name, how often such a span arrived (`times`) and a view that each of them fulfils

A view is some of the fields of OTLP's `Span` with enums by name, `attributes` (no others are there), `events` (the
names), `scope` (its name and version), `scope_schema_url` and `children` (the names of all spans whose parent it is,
sorted).
"""

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from difference import Comparison
from otlp import any_value

INVOCATION_ID = "faas.invocation_id"


def check_expected(expected, spans):
    """The differences, and how many values were compared."""
    comparison = Comparison("expected")
    for trace_id in expected.get("absent_traces", []):
        names = [of["span"]["name"] for (of_trace, _), of in spans.items() if of_trace == trace_id]
        comparison.compare(f"spans of trace {trace_id}", [], names)
    comparison.compare("spans", expected.get("spans", len(spans)), len(spans))
    wanted = {name: any_value(value) for name, value in expected["resource"].items()}
    for resource in distinct(of["resource"] for of in spans.values()):
        found = attributes_of(resource)
        comparison.compare("resource", wanted, {name: found[name] for name in wanted if name in found})
    for view in expected["invocations"]:
        identity = view["attributes"][INVOCATION_ID]
        found = [of for of in spans.values() if attributes_of(of["span"]).get(INVOCATION_ID) == any_value(identity)]
        check_view(comparison, f"invocation {identity}", {"times": 1, **view}, found, spans)
    for name, view in expected.get("named", {}).items():
        found = [of for of in spans.values() if of["span"]["name"] == name]
        check_view(comparison, f"span {name!r}", view, found, spans)
    return comparison.differences, comparison.fields


def check_view(comparison, title, view, found, spans):
    want = {name: value for name, value in view.items() if name != "times"}
    if "attributes" in want:
        want["attributes"] = {name: any_value(value) for name, value in want["attributes"].items()}
    comparison.compare(f"{title}: how many", view["times"], len(found))
    for of in found:
        got = as_viewed(of, spans)
        comparison.compare(title, want, {name: got[name] for name in want})


def as_viewed(of, spans):
    span, scope = of["span"], of["scope"]
    children = [other["span"] for other in spans.values() if other["span"]["parent_span_id"] == span["span_id"]]
    return {
        **span,
        "kind": Span.SpanKind.Name(span["kind"]),
        "status": {**span["status"], "code": Status.StatusCode.Name(span["status"]["code"])},
        "attributes": attributes_of(span),
        "events": [event["name"] for event in span["events"]],
        "scope": f"{scope['name']} {scope['version']}".strip(),
        "scope_schema_url": of["scope_schema_url"],
        "children": sorted(child["name"] for child in children if child["trace_id"] == span["trace_id"]),
    }


def attributes_of(holder):
    """By key; the last one wins, as for a backend."""
    return {attribute["key"]: attribute["value"] for attribute in (holder or {}).get("attributes", [])}


def distinct(values):
    found = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
