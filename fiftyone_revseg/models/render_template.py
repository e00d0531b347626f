"""A script: renders a chat template within limits, and ends with 0 unless it took more.

Errors in a template are none of its business: who renders it in earnest says what they are.
"""

import contextlib
import json
import sys

MESSAGES = [
    {"role": "system", "content": [{"type": "text", "text": "Look."}]},
    {"role": "user", "content": [{"type": "text", "text": "Frame"}, {"type": "image"}] * 16},
    {"role": "assistant", "content": [{"type": "text", "text": "<think>t</think> []"}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where?"}]},
]


def _limit(seconds: int, megabytes: int) -> None:
    import resource

    # Some systems have no such limit
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20,) * 2)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _render(template: str) -> str:
    from jinja2 import ext, nodes, sandbox

    class Generation(ext.Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser):  # type: ignore[no-untyped-def]
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    environment.globals.update(raise_exception=refuse, strftime_now=lambda form: "today")
    text: str = environment.from_string(template).render(
        messages=MESSAGES, tools=None, documents=None, add_generation_prompt=True
    )
    return text


def main() -> int:
    """Renders what standard input describes."""
    job = json.load(sys.stdin)
    _limit(job["seconds"], job["megabytes"])
    try:
        return int(len(_render(job["template"])) > job["most"])
    except MemoryError:
        return 1
    except Exception:
        return 0


if __name__ == "__main__":
    sys.exit(main())
