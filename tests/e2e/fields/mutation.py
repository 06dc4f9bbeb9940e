"""Does the comparison see every kind of field? Each one is changed once in what was recorded, for a trial."""

import copy
import re


def mutations(lines):
    """For each kind of field in the capture: its name, the number of a line that has it, that line changed."""
    tried = set()
    for number, line in enumerate(lines):
        for path in places(line):
            kind = kind_of(path)
            # A span's own context is never remote, and OTLP has no place for it.
            if kind in tried or kind == "span.context.is_remote":
                continue
            changed = mutated(line, path)
            if changed is not None:
                tried.add(kind)
                yield kind, number, changed


def places(value, path=()):
    """Paths to every leaf and every list in a JSON value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from places(item, (*path, name))
    elif isinstance(value, list):
        yield path
        for index, item in enumerate(value):
            yield from places(item, (*path, index))
    else:
        yield path


def kind_of(path):
    """The path without its numbers: the names of all events are one kind of field."""
    return re.sub(r"\.\d+", "[]", ".".join(map(str, path)))


OTHER_WORDS = {"kind": ("Producer", "Consumer"), "code": ("Error", "Ok")}


def mutated(value, path):
    """A copy of a JSON value that differs at `path`; None where there is nothing to change."""
    changed = copy.deepcopy(value)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    name = path[-1]
    old = holder[name]
    if isinstance(old, list):
        if not old:
            return None
        old.pop()
    elif name in OTHER_WORDS:
        holder[name] = next(word for word in OTHER_WORDS[name] if word != old)
    elif isinstance(old, bool):
        holder[name] = not old
    elif isinstance(old, int):
        holder[name] = old ^ 1
    else:
        holder[name] = (old or "") + "x"
    return changed
