"""What docs/wire-protocol.rst shows is true: its bytes, its tables and its client."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import get_args

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.wire.messages import Event, Finished, Greeting, Held, Line, Packet, SessionEvent, Subscribe
from tests.wire.helpers import decode, encode, read_lines

TEXT = (Path(__file__).parents[2] / "docs" / "wire-protocol.rst").read_text("utf-8")

CLIENT_SECONDS = 30


def table_of(*union: type[msgspec.Struct], leave_out: tuple[str, ...] = ()) -> dict[str, tuple[set[str], set[str]]]:
    """By type: the fields that are always there, and those that may be left out."""
    table = {}
    for message in union:
        fields = [field for field in msgspec.structs.fields(message) if field.name not in leave_out]
        always = {field.name for field in fields if field.required}
        table[message.__struct_config__.tag] = always, {field.name for field in fields} - always
    return table


def rows(section: str) -> dict[str, tuple[set[str], set[str]]]:
    """The same, as a list-table of the text has it."""
    found = re.findall(r"^   \* - ``(\w+)``\n     - (.*)$", section, re.MULTILINE)
    table = {}
    for name, cell in found:
        optional = set(re.findall(r"\[``(\w+)``\]", cell))
        table[name] = set(re.findall(r"``(\w+)``", cell)) - optional, optional
    return table


class WireProtocolText(SynchronousTestCase):
    def setUp(self) -> None:
        self.from_daemon, self.from_client = TEXT.split("\nClient to daemon\n")

    def test_the_tables_list_every_message_and_field(self) -> None:
        of_session = [event for event in get_args(Event) if issubclass(event, SessionEvent)]
        rest = [event for event in get_args(Event) if not issubclass(event, SessionEvent)]
        events = table_of(*of_session, leave_out=("session_id", "track_id")) | table_of(*rest)
        self.assertEqual(rows(self.from_daemon), events)
        self.assertEqual(rows(self.from_client), table_of(*get_args(Line)))

    def test_the_bytes_shown_are_what_they_are_said_to_be(self) -> None:
        shown = re.findall(r"^    ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  .*)?$", TEXT, re.MULTILINE)
        messages, error = decode([bytes.fromhex("".join(shown))])
        self.assertIsNone(error)
        self.assertEqual(messages, [Packet("guild-a", b"\xfc\xff\xfe"), Finished("guild-a", "7f", 0.02)])

    def test_the_resume_shown_is_understood(self) -> None:
        (shown,) = re.findall(r'^    (\{"type":"hello".*\})$', TEXT, re.MULTILINE)
        resume = {"guild-a": Held(150, "7f"), "user:42": 90}
        self.assertEqual(read_lines([shown.encode() + b"\n"]), [Greeting("bot/1.2", resume)])

    def test_the_client_shown_works(self) -> None:
        (program,) = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", TEXT)
        messages = [Packet("guild-a", b"{}\n"), Packet("guild-a", b"\xfc" * 70_000), Finished("guild-a", "7f", 0.04)]
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
            path = f"{folder}/audio.sock"
            server.bind(path)
            server.listen()
            server.settimeout(CLIENT_SECONDS)
            argv = [sys.executable, "-c", textwrap.dedent(program), path, "guild-a"]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(CLIENT_SECONDS)
                    line = connection.makefile("rb").readline()
                    connection.sendall(b"".join(map(encode, messages)))
                    out, _ = client.communicate(timeout=CLIENT_SECONDS)
        self.assertEqual(read_lines([line]), [Subscribe("guild-a")])
        self.assertEqual(client.returncode, 0)
        first, second, last = out.splitlines()
        self.assertEqual((first, second), ("guild-a: 3 bytes", "guild-a: 70000 bytes"))
        self.assertIn("'type': 'finished'", last)
