"""Both sides in one shape: plain values under OTLP's own names, every field present.

`arrived` walks a decoded message by its descriptor, so that a field nobody thought of is there as well.
`recorded` says in OTLP's words what the SDK recorded; what OTLP has beyond the SDK is at its default.
"""

import struct

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

NO_PARENT = "0" * 16


class Malformed(Exception):
    """What arrived, or what was recorded, is not of the expected form."""


def bits(number):
    """A double as its 64 bits: NaN equals itself then, and 0.0 is not -0.0."""
    return "%016x" % struct.unpack("<Q", struct.pack("<d", number))


# --- what arrived ---------------------------------------------------------------------------------------------


def arrived(message):
    """A decoded message as a dict. Of a `oneof` only the member that is set; a message that is absent is None."""
    if len(UnknownFieldSet(message)) > 0:
        raise Malformed(f"{message.DESCRIPTOR.full_name} has fields that OTLP does not have")
    plain = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            plain[field.name] = [_scalar_or_message(field, item) for item in getattr(message, field.name)]
        elif field.has_presence and not message.HasField(field.name):
            if field.containing_oneof is None:
                plain[field.name] = None
        else:
            plain[field.name] = _scalar_or_message(field, getattr(message, field.name))
    return plain


def _scalar_or_message(field, item):
    if field.type == field.TYPE_MESSAGE:
        return arrived(item)
    if field.type == field.TYPE_BYTES:
        return item.hex()
    if field.type == field.TYPE_DOUBLE:
        return bits(item)
    return item


# --- what was recorded ----------------------------------------------------------------------------------------


def recorded(line):
    """One line of the capture as (resource, resource's schema URL, scope, scope's schema URL, span)."""
    resource, scope = line["resource"], line["scope"]
    return {
        "resource": {
            "attributes": _attributes(resource["attributes"]),
            "dropped_attributes_count": 0,
            "entity_refs": [],
        },
        "resource_schema_url": resource["schema_url"] or "",
        "scope": {
            "name": scope["name"],
            "version": scope["version"] or "",
            "attributes": _attributes(scope["attributes"]),
            "dropped_attributes_count": 0,
        },
        "scope_schema_url": scope["schema_url"] or "",
        "span": _span(line["span"]),
    }


def _span(span):
    context = span["context"]
    parent = span["parent_span_id"]
    return {
        "trace_id": context["trace_id"],
        "span_id": context["span_id"],
        "trace_state": context["trace_state"],
        "parent_span_id": "" if parent == NO_PARENT else parent,
        "flags": _flags(context["trace_flags"], span["parent_is_remote"]),
        "name": span["name"],
        "kind": Span.SpanKind.Value("SPAN_KIND_" + span["kind"].upper()),
        "start_time_unix_nano": span["start"],
        "end_time_unix_nano": span["end"],
        "attributes": _attributes(span["attributes"]),
        "dropped_attributes_count": span["attributes_dropped"],
        "events": [_event(event) for event in span["events"]],
        "dropped_events_count": span["events_dropped"],
        "links": [_link(link) for link in span["links"]],
        "dropped_links_count": span["links_dropped"],
        "status": {
            "code": Status.StatusCode.Value("STATUS_CODE_" + span["status"]["code"].upper()),
            "message": span["status"]["description"],
        },
    }


def _flags(trace_flags, is_remote):
    """The W3C flags, and whether the other context (a span's parent, a link's target) is remote."""
    known = SpanFlags.Value("SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK")
    remote = SpanFlags.Value("SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK") if is_remote else 0
    return trace_flags | known | remote


def _event(event):
    return {
        "time_unix_nano": event["time"],
        "name": event["name"],
        "attributes": _attributes(event["attributes"]),
        "dropped_attributes_count": event["attributes_dropped"],
    }


def _link(link):
    context = link["context"]
    return {
        "trace_id": context["trace_id"],
        "span_id": context["span_id"],
        "trace_state": context["trace_state"],
        "attributes": _attributes(link["attributes"]),
        "dropped_attributes_count": link["attributes_dropped"],
        "flags": _flags(context["trace_flags"], context["is_remote"]),
    }


def _attributes(attributes):
    return [{"key": item["key"], "value": _value(item["value"]), "key_strindex": 0} for item in attributes]


_MEMBERS = {"string": "string_value", "bool": "bool_value", "i64": "int_value", "f64_bits": "double_value"}


def _value(value):
    (kind, content), = value.items()
    if kind == "array":
        return {"array_value": {"values": [_value(item) for item in content]}}
    if kind not in _MEMBERS:
        raise Malformed(f"the SDK has recorded a value of an unknown type: {value}")
    return {_MEMBERS[kind]: content}


def any_value(plain):
    """A plain Python value as an `AnyValue`."""
    if isinstance(plain, bool):
        return {"bool_value": plain}
    if isinstance(plain, int):
        return {"int_value": plain}
    if isinstance(plain, float):
        return {"double_value": bits(plain)}
    if isinstance(plain, list):
        return {"array_value": {"values": [any_value(item) for item in plain]}}
    return {"string_value": plain}
