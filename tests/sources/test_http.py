"""Direct media URLs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import UnsupportedUrl
from audiosvc.sources.http import join, parse
from audiosvc.sources.model import Http

CANONICAL = {
    "http://example.org": "http://example.org/",
    "HTTPS://Example.ORG/A.mp3": "https://example.org/A.mp3",
    "http://example.org:8000/live": "http://example.org:8000/live",
    "http://example.org:080/live": "http://example.org:80/live",
    "http://example.org./x": "http://example.org./x",
    "http://a_b.example/x": "http://a_b.example/x",
    "http://127.0.0.1/x": "http://127.0.0.1/x",
    "http://[::1]:8000/x": "http://[::1]:8000/x",
    "http://[0:0::1]/x": "http://[::1]/x",
    "http://h?x=1": "http://h/?x=1",
    "http://h/a%20b?sig=a%2Fb&c=/?d#frag": "http://h/a%20b?sig=a%2Fb&c=/?d",
    "http://h/a'b\"<c>{d}|^`;,$": "http://h/a'b\"<c>{d}|^`;,$",
    "http://h/Größe.mp3?q=ß": "http://h/Gr%C3%B6%C3%9Fe.mp3?q=%C3%9F",
    "http://bücher.example/x": "http://xn--bcher-kva.example/x",
    "http://\uff11\uff12\uff17.0.0.1/x": "http://127.0.0.1/x",
    "http://h/@x:y": "http://h/@x:y",
}
"""What is asked, and what FFmpeg is given."""

REFUSED = (
    *("", "http", "http:", "http:/", "http:/h/x", "http:h/x", "https:/h", "ftp://h/x", "//h/x", "h/x"),
    *("http://", "http:///x", "http://?x", "http://#x", "http://:80/x", "http://h:/x", "http://h:0/x"),
    *(
        "http://h:65536/x",
        "http://h:-1/x",
        "http://h:8o/x",
        "http://h:80:80/x",
        "http://h:+80/x",
        "http://h:\uff18\uff10/x",
    ),
    *("http://user@h/x", "http://user:pw@h/x", "http://@h/x", "http://good.example@127.0.0.1/x", "http://h%40i/x"),
    *("http://h i/x", "http://h/a b", "http://h/a\\b", "http://h\\@i/x", "http://h/a\tb", "http://h/a\r\nX: 1"),
    *("http://h/a\nb", "http://h/\0", "http://h/\x7f", "http://h/\x85", "http://h/\u2028", "http://h/\ud800"),
    *(
        "http://[::1/x",
        "http://::1/x",
        "http://[::1]x/",
        "http://[fe80::1%25eth0]/x",
        "http://[1.2.3.4]/",
        "http://[]/",
    ),
    *("http://-h/x", "http://.h/x", "http://h..i/x", "http://h,i/x", "http://%68/x", "http://h'i/x", "http://*/x"),
    *(f"http://{'a' * 64}.example/", "http://\u2100.example/", "http://\u200d/", "http://ex\u3002\u3002/"),
)


class ParseTests(SynchronousTestCase):
    def test_ffmpeg_is_given_what_was_parsed(self) -> None:
        for url, canonical in CANONICAL.items():
            with self.subTest(url):
                source = parse(url)
                self.assertEqual((source.url, source.media), (url, Http(canonical)))

    def test_anything_odd_is_refused(self) -> None:
        for url in REFUSED:
            with self.subTest(url):
                self.assertRaises(UnsupportedUrl, parse, url)

    def test_the_title_is_the_last_segment_until_more_is_known(self) -> None:
        for url, title in (
            ("http://h/a/My%20Song.mp3?x=y.z", "My Song"),
            ("http://h/a/b/", "b"),
            ("http://h/Größe", "Größe"),
            ("http://H:80/", "h"),
            ("http://h/%00%0a", "h"),
        ):
            self.assertEqual(parse(url).title, title)


class JoinTests(SynchronousTestCase):
    def test_a_semicolon_is_a_letter_like_any_other(self) -> None:
        for base, reference, joined in (
            ("http://h:8000/a.pls", "/;", "http://h:8000/;"),
            ("http://h/a.pls", "http://h:8000/;", "http://h:8000/;"),
            ("http://h/a/b", "c;", "http://h/a/c;"),
            ("http://h/a;", "?c", "http://h/a;?c"),
            ("http://h/a;b/c;d?e", "f;g=h;", "http://h/a;b/f;g=h;"),
        ):
            self.assertEqual(join(base, reference), joined)

    def test_what_is_no_url_is_refused(self) -> None:
        for reference in ("//[x", "http://[::1/;"):
            self.assertRaises(UnsupportedUrl, join, "http://h/", reference)
