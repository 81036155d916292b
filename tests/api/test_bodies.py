from __future__ import annotations

import json
from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.api import bodies
from audiosvc.api.bodies import decode_body, decode_no_body, decode_query
from audiosvc.errors import InvalidBody, InvalidJson, InvalidQuery
from audiosvc.session.track import Play
from audiosvc.sources.model import Http, Source
from tests.api.support import TONE

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLAY_FIELDS = st.sampled_from([field.name for field in msgspec.structs.fields(Play)])


class DecodingBodies(SynchronousTestCase):
    def refused(self, raw: bytes, into: type[object] = Play) -> str:
        return self.assertRaises(InvalidBody, decode_body, raw, into).message

    def test_a_play_needs_no_more_than_a_url(self) -> None:
        self.assertEqual(decode_body(b'{"url": "demo:tone"}', Play), Play("demo:tone"))

    def test_integers_will_do_for_seconds(self) -> None:
        self.assertEqual(decode_body(b' {"position": 90}\n', bodies.Seek), bodies.Seek(90.0))

    def test_a_whole_surrogate_pair_is_one_character(self) -> None:
        self.assertEqual(decode_body(b'{"url": "\\ud83d\\ude00"}', Play).url, "\N{GRINNING FACE}")

    def test_messages_name_the_field_and_what_it_takes(self) -> None:
        self.assertEqual(self.refused(b'{"url": 1}'), "url: expected str, got int")
        self.assertEqual(self.refused(b'{"url": "a", "volume": 3}'), "volume: expected float <= 2.0")
        self.assertEqual(self.refused(b'{"url": "a", "format": "mp3"}'), "format: invalid enum value 'mp3'")
        self.assertEqual(self.refused(b'{"url": "a", "bitrate": 9e4}'), "bitrate: expected int or null, got float")
        self.assertEqual(self.refused(b"{}"), "missing required field url")
        self.assertEqual(self.refused(b'{"url": "a", "loud": 1}'), "contains unknown field loud")
        self.assertEqual(self.refused(b'{"url": "a", "url": "b"}'), "url: given twice")

    def test_a_name_written_in_escapes_is_the_same_name(self) -> None:
        self.assertEqual(self.refused(b'{"url": "a", "u\\u0072l": "b"}'), "url: given twice")

    def test_messages_do_not_grow_with_the_callers_text(self) -> None:
        self.assertLess(len(self.refused(b'{"%s": 1}' % (b"x" * 50_000))), 250)

    def test_no_json_object_is_another_matter_than_one_that_does_not_fit(self) -> None:
        for raw in (
            b"",
            b" ",
            b"x",
            b"[]",
            b"1",
            b"null",
            b"{",
            b'{"url": "\xff"}',
            b'{"url": NaN}',
            b'{"url": "a"} {}',
        ):
            self.assertRaises(InvalidJson, decode_body, raw, Play)

    def test_where_no_body_is_due_an_empty_object_will_do(self) -> None:
        for raw in (b"", b"{}", b" { } "):
            decode_no_body(raw)
        self.assertRaises(InvalidBody, decode_no_body, b'{"why": 1}')
        for raw in (b"0", b"\r\n"):
            self.assertRaises(InvalidJson, decode_no_body, raw)

    @given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
    @settings(deadline=None)
    def test_any_bytes_are_taken_or_refused(self, raw: bytes) -> None:
        try:
            decode_body(raw, Play)
        except (InvalidJson, InvalidBody) as error:
            self.assertTrue(error.message)

    @given(st.dictionaries(PLAY_FIELDS, JSON_VALUES))
    @settings(deadline=None)
    def test_what_is_taken_says_the_same_when_written_again(self, fields: dict[str, object]) -> None:
        try:
            play = decode_body(json.dumps(fields).encode(), Play)
        except (InvalidJson, InvalidBody):
            return
        self.assertEqual({name: getattr(play, name) for name in fields}, fields)
        self.assertEqual(decode_body(msgspec.json.encode(play), Play), play)


class DecodingQueries(SynchronousTestCase):
    def test_a_url_keeps_what_twisted_would_cut_off(self) -> None:
        query = decode_query(b"url=http://example.org/a;b?c%26d+e", bodies.UrlQuery)
        self.assertEqual(query.url, "http://example.org/a;b?c&d e")

    def test_a_search_has_a_limit_unless_told(self) -> None:
        self.assertEqual(decode_query(b"q=demo:", bodies.SearchQuery), bodies.SearchQuery("demo:", 10))
        self.assertEqual(decode_query(b"q=1&limit=50", bodies.SearchQuery), bodies.SearchQuery("1", 50))

    def test_messages_name_the_parameter(self) -> None:
        for raw, message in (
            (b"", "missing required field url"),
            (b"url=a&url=b", "url: given twice"),
            (b"url=a&loud=1", "contains unknown field loud"),
            (b"url=", "url: expected str of length >= 1"),
            (b"url=%ff", "the query is not percent-encoded UTF-8 of at most 16 fields"),
            (b"url=\x80", "the query is not percent-encoded UTF-8 of at most 16 fields"),
        ):
            error = self.assertRaises(InvalidQuery, decode_query, raw, bodies.UrlQuery)
            self.assertEqual(error.message, message)

    @given(st.binary())
    @settings(deadline=None)
    def test_any_bytes_are_taken_or_refused(self, raw: bytes) -> None:
        try:
            self.assertTrue(decode_query(b"q=" + raw, bodies.SearchQuery).q)
        except InvalidQuery as error:
            self.assertTrue(error.message)


class FromSources(SynchronousTestCase):
    page = Source("http://example.org/b", Http("http://example.org/b.ogg"), thumbnail="http://example.org/b.jpg")

    def test_a_description_of_a_list_is_its_title_and_its_first_picture(self) -> None:
        first = replace(TONE, thumbnail="http://h/i.jpg", playlist="My list")
        listed = bodies.Description("demo:tone", "My list", None, "http://h/i.jpg", is_playlist=True)
        self.assertEqual(bodies.description(first), listed)
        self.assertEqual(bodies.description(replace(first, playlist="")).title, "Tone, 440 Hz")

    def test_a_description_is_of_one_track(self) -> None:
        self.assertEqual(
            bodies.description(TONE), bodies.Description("demo:tone", "Tone, 440 Hz", 30.0, None, is_playlist=False)
        )

    def test_a_playlist_counts_its_entries(self) -> None:
        playlist = bodies.playlist("http://example.org/", [TONE, self.page])
        self.assertEqual((playlist.url, playlist.count), ("http://example.org/", 2))
        self.assertEqual(
            playlist.entries[1], bodies.Entry("http://example.org/b", None, None, "http://example.org/b.jpg")
        )

    def test_a_result_is_known_by_its_url(self) -> None:
        results = bodies.results("demo:", [TONE])
        self.assertEqual((results.query, results.count), ("demo:", 1))
        (result,) = results.results
        self.assertEqual((result.id, result.url, result.channel), ("demo:tone", "demo:tone", "audiosvc"))
