"""How two plain values differ, and how many fields that took to find out."""

SHOWN_CHARS_MAX = 120


class Comparison:
    """Collects differences; `fields` counts the leaves that were looked at. `source` says where the left side is
    from."""

    def __init__(self, source):
        self.source = source
        self.fields = 0
        self.differences = []

    def compare(self, path, want, got):
        if type(want) is not type(got):
            self._differ(path, want, got)
        elif isinstance(want, dict):
            for name in [*want, *(name for name in got if name not in want)]:
                if name not in got:
                    self._report(f"{path}.{name}: {self.source} {_shown(want[name])}, did not arrive")
                elif name not in want:
                    self._report(f"{path}.{name}: arrived as {_shown(got[name])}, was not {self.source}")
                else:
                    self.compare(f"{path}.{name}", want[name], got[name])
        elif isinstance(want, list):
            self.fields += 1  # its length
            if len(want) != len(got):
                self._report(
                    f"{path}: {self.source} {len(want)} of them, arrived {len(got)}: {_shown(want)}, {_shown(got)}"
                )
            for index, (one, other) in enumerate(zip(want, got)):
                self.compare(f"{path}[{index}]", one, other)
        else:
            self.fields += 1
            if want != got:
                self._differ(path, want, got)

    def _differ(self, path, want, got):
        self._report(f"{path}: {self.source} {_shown(want)}, arrived {_shown(got)}")

    def _report(self, line):
        self.differences.append(line)


def _shown(value):
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"
