"""What may name a session, by the function and by the pattern of the schemas alike."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import InvalidSessionId
from audiosvc.ids import SESSION_ID_PATTERN, is_session_id, new_track_id, session_id

GOOD = ("a", "175928847299117063", "6f1d2c3b-4a59-4687-9b7a-0c1d2e3f4a5b", "user:42", "A.b_c-9", "-", "x" * 36)
BAD = ("", " ", "a b", " a", "a ", "x" * 37, "a\n", "a\r\n", "\0", "a/b", "..\\a", "ä", "\u0663", "{}", "a%20b")


class SessionIds(SynchronousTestCase):
    def test_what_users_of_the_daemon_have_as_ids_is_taken_as_it_is(self) -> None:
        for text in GOOD:
            self.assertEqual(session_id(text), text)
            self.assertTrue(is_session_id(text))

    def test_all_else_is_refused_and_never_changed_to_fit(self) -> None:
        for text in BAD:
            self.assertFalse(is_session_id(text), text)
            error = self.assertRaises(InvalidSessionId, session_id, text)
            self.assertEqual((error.code, error.status, str(error)), ("invalid_session_id", 400, error.default))

    @settings(deadline=None)
    @given(st.sampled_from(GOOD + BAD) | st.text(max_size=40) | st.text("aZ0_.:- \n", max_size=38))
    def test_the_pattern_of_the_schemas_says_the_same(self, text: str) -> None:
        self.assertEqual(re.search(SESSION_ID_PATTERN, text) is not None, is_session_id(text))


class TrackIds(SynchronousTestCase):
    def test_each_is_new_and_plain(self) -> None:
        made = {new_track_id() for _ in range(100)}
        self.assertEqual(len(made), 100)
        for track_id in made:
            self.assertRegex(track_id, r"\A[0-9a-f]{32}\Z")
