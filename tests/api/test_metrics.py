from __future__ import annotations

from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.api.metrics import Metrics, Traffic
from audiosvc.health import CODES
from audiosvc.vitals import Reason
from tests.api.support import VITALS


class Scraped(SynchronousTestCase):
    def setUp(self) -> None:
        self.traffic = Traffic(connections=1, connections_refused=2, connections_timed_out=3)
        self.traffic.answers.update({200: 10, 401: 4})
        self.traffic.problems["unauthorized"] = 4
        self.metrics = Metrics(lambda: VITALS, self.traffic)

    def samples(self) -> dict[tuple[str, ...], float]:
        _, page = self.metrics.page("")
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in parse_text(page.decode())
            for sample in family.samples
            if sample.name.startswith("audiosvc_")
        }

    def test_every_vital_is_there_once_under_a_name_with_its_unit(self) -> None:
        self.assertEqual(
            self.samples(),
            {
                ("audiosvc_build_info", "1.2.3"): 1,
                ("audiosvc_status", "ok"): 1,
                **{("audiosvc_health_reason", code): 0 for code in CODES},
                ("audiosvc_ready",): 1,
                ("audiosvc_uptime_seconds",): 12.5,
                ("audiosvc_sessions", "streaming"): 2,
                ("audiosvc_sessions", "paused"): 0,
                ("audiosvc_plays_total",): 7,
                ("audiosvc_ends_total", "finished", ""): 3,
                ("audiosvc_ends_total", "stopped", "replaced"): 1,
                ("audiosvc_ends_total", "error", "not_audio"): 2,
                ("audiosvc_children",): 2,
                ("audiosvc_spawns_total",): 9,
                ("audiosvc_spawn_failures_total",): 2,
                ("audiosvc_log_lines_total",): 31,
                ("audiosvc_log_lines_dropped_total",): 3,
                ("audiosvc_log_sessions",): 1,
                ("audiosvc_children_cpu_seconds_total",): 4.5,
                ("audiosvc_children_resident_memory_bytes",): 60_000_000,
                ("audiosvc_children_largest_resident_memory_bytes",): 35_000_000,
                ("audiosvc_delayed_calls",): 18,
                ("audiosvc_memory_blocks",): 250_000,
                ("audiosvc_encoder_threads",): 2,
                ("audiosvc_encoder_load_ratio",): 0.25,
                ("audiosvc_encoder_jobs_waiting",): 1,
                ("audiosvc_encoder_frames_total",): 5_000,
                ("audiosvc_usable_cores",): 1.5,
                ("audiosvc_load_ratio",): 0.625,
                ("audiosvc_opus_complexity",): 5,
                ("audiosvc_opus_complexity_reduced",): 1,
                ("audiosvc_refusing_plays",): 0,
                ("audiosvc_plays_refused_total",): 17,
                ("audiosvc_pacer_ticks_total",): 600,
                ("audiosvc_pacer_largest_gap_seconds",): 0.0215,
                ("audiosvc_pacer_skipped_ticks_total",): 4,
                ("audiosvc_delivery_connections",): 1,
                ("audiosvc_delivery_packets_total",): 500,
                ("audiosvc_delivery_bytes_total",): 80_000,
                ("audiosvc_delivery_underruns_total",): 3,
                ("audiosvc_pacer_lateness_seconds_bucket", "0.02"): 590,
                ("audiosvc_pacer_lateness_seconds_bucket", "+Inf"): 600,
                ("audiosvc_pacer_lateness_seconds_count",): 600,
                ("audiosvc_pacer_lateness_seconds_sum",): 1.5,
                ("audiosvc_delivery_late_packets_total",): 22,
                ("audiosvc_delivery_missed_packets_total",): 23,
                ("audiosvc_delivery_largest_gap_seconds",): 0.0415,
                ("audiosvc_ready_packets",): 50,
                ("audiosvc_largest_ready_packets",): 26,
                ("audiosvc_waiting_packets",): 7,
                ("audiosvc_largest_waiting_packets",): 6,
                ("audiosvc_unsent_bytes",): 3_000,
                ("audiosvc_largest_unsent_bytes",): 2_000,
                ("audiosvc_first_packet_seconds_bucket", "0.01", "cached"): 2,
                ("audiosvc_first_packet_seconds_bucket", "+Inf", "cached"): 3,
                ("audiosvc_first_packet_seconds_count", "cached"): 3,
                ("audiosvc_first_packet_seconds_sum", "cached"): 0.06,
                ("audiosvc_seek_seconds_bucket", "0.01", "transcode"): 0,
                ("audiosvc_seek_seconds_bucket", "+Inf", "transcode"): 1,
                ("audiosvc_seek_seconds_count", "transcode"): 1,
                ("audiosvc_seek_seconds_sum", "transcode"): 0.07,
                ("audiosvc_delivery_events_dropped_total",): 5,
                ("audiosvc_delivery_lines_refused_total",): 6,
                ("audiosvc_delivery_resent_packets_total",): 8,
                ("audiosvc_source_recoveries_total",): 11,
                ("audiosvc_source_dropped_packets_total",): 12,
                ("audiosvc_source_broadcasts",): 13,
                ("audiosvc_source_listeners",): 14,
                ("audiosvc_door_permits",): 1,
                ("audiosvc_door_connections",): 2,
                ("audiosvc_door_requests_total",): 30,
                ("audiosvc_door_bytes_total",): 4_000,
                ("audiosvc_door_refused_total", "blocked_address"): 5,
                ("audiosvc_isolation_active",): 1,
                ("audiosvc_isolation_hardened",): 0,
                ("audiosvc_restart_taken_up_total",): 20,
                ("audiosvc_restart_left_out_total",): 1,
                ("audiosvc_extractors_available",): 1,
                ("audiosvc_extractors",): 2,
                ("audiosvc_extractors_busy",): 1,
                ("audiosvc_extractor_calls_waiting",): 3,
                ("audiosvc_extractor_calls_total",): 14,
                ("audiosvc_extractor_restarts_total",): 1,
                ("audiosvc_extractor_answers_cached",): 4,
                ("audiosvc_cache_tracks",): 3,
                ("audiosvc_cache_bytes",): 9_000_000,
                ("audiosvc_cache_recording_bytes",): 500_000,
                ("audiosvc_cache_hits_total",): 20,
                ("audiosvc_cache_misses_total",): 21,
                ("audiosvc_cache_kept_total",): 6,
                ("audiosvc_cache_dropped_total",): 7,
                ("audiosvc_cache_disk",): 1,
                ("audiosvc_cache_disk_tracks",): 13,
                ("audiosvc_cache_disk_bytes",): 40_000_000,
                ("audiosvc_cache_disk_errors_total",): 1,
                ("audiosvc_http_answers_total", "200"): 10,
                ("audiosvc_http_answers_total", "401"): 4,
                ("audiosvc_http_problems_total", "unauthorized"): 4,
                ("audiosvc_http_connections",): 1,
                ("audiosvc_http_connections_refused_total",): 2,
                ("audiosvc_http_connections_timed_out_total",): 3,
            },
        )

    def test_what_is_amiss_shows_by_its_code_and_whether_plays_are_refused_for_it(self) -> None:
        reasons = [Reason("log_dropped", "3 lines", refuses=False)]
        self.metrics = Metrics(lambda: replace(VITALS, status="degraded", reasons=reasons), self.traffic)
        samples = self.samples()
        self.assertEqual((samples["audiosvc_status", "degraded"], samples["audiosvc_ready",]), (1, 1))
        self.assertEqual([key[1] for key, v in samples.items() if key[0].endswith("_reason") and v], ["log_dropped"])
        reasons.append(Reason("overloaded", "full", refuses=True))
        self.assertEqual(self.samples()["audiosvc_ready",], 0)

    def test_a_daemon_that_reads_no_pages_says_nothing_of_them(self) -> None:
        self.metrics = Metrics(lambda: replace(VITALS, extractors=None), self.traffic)
        self.assertFalse([name for name, *_ in self.samples() if "extractor" in name])

    def test_a_second_scrape_counts_nothing_twice(self) -> None:
        self.assertEqual(self.samples(), self.samples())

    def test_the_process_and_its_python_are_there(self) -> None:
        _, page = self.metrics.page("")
        self.assertIn(b"process_resident_memory_bytes ", page)
        self.assertIn(b"python_info{", page)

    def test_a_scraper_gets_the_format_it_takes(self) -> None:
        content_type, _ = self.metrics.page("*/*")
        self.assertTrue(content_type.startswith("text/plain; version="))
        content_type, page = self.metrics.page("application/openmetrics-text; version=1.0.0")
        self.assertTrue(content_type.startswith("application/openmetrics-text"))
        self.assertIn("audiosvc_plays", [family.name for family in parse_openmetrics(page.decode())])
