"""The daemon's vitals and the API's own traffic as Prometheus metrics, made anew at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from audiosvc.health import CODES
from audiosvc.vitals import (
    CacheVitals,
    ChildrenVitals,
    DeliveryVitals,
    DoorVitals,
    EncoderVitals,
    ExtractorVitals,
    HistogramVitals,
    IsolationVitals,
    OverloadVitals,
    PacerVitals,
    QueueVitals,
    SourceVitals,
    TimingVitals,
    Vitals,
)

Labelled = Iterable[tuple[Sequence[str], float]]
"""Label values, and the value they have."""


@dataclass
class Traffic:
    """What passed through the API since start, and its connections now."""

    answers: Counter[int] = field(default_factory=Counter)
    """By HTTP status."""
    problems: Counter[str] = field(default_factory=Counter)
    """By code."""
    connections: int = 0
    connections_refused: int = 0
    """Past the limit."""
    connections_timed_out: int = 0
    """Closed because a request took too long to arrive, or its answer to be taken."""


class Metrics:
    """A registry of its own, so that neither tests nor a second daemon in the process count twice."""

    def __init__(self, vitals: Callable[[], Vitals], traffic: Traffic) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(VitalsCollector(vitals, traffic))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def page(self, accept: str) -> tuple[str, bytes]:
        """Content type and body of a scrape that takes `accept`: Prometheus text, or OpenMetrics if it names that."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)


class VitalsCollector(Collector):
    """Values come from their owners' own counters; nothing is counted here."""

    def __init__(self, vitals: Callable[[], Vitals], traffic: Traffic) -> None:
        self._vitals = vitals
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        vitals = self._vitals()
        yield _gauges("build_info", "The running version.", ["version"], [([vitals.version], 1)])
        yield _gauges("status", "1 for what /health says.", ["status"], [([vitals.status], 1)])
        reasons = {reason.code: reason for reason in vitals.reasons}
        yield _gauges(
            "health_reason", "1 for each reason not to be ok.", ["code"], [([code], code in reasons) for code in CODES]
        )
        ready = not any(reason.refuses for reason in reasons.values())
        yield _gauge("ready", "1 if plays are taken, 0 if they would be refused.", ready)
        yield _gauge("uptime_seconds", "Time since start.", vitals.uptime)
        sessions = [([status], count) for status, count in vitals.sessions.items()]
        yield _gauges("sessions", "Sessions by status.", ["status"], sessions)
        yield _counter("plays", "Plays accepted.", vitals.plays)
        ends = [(key.partition(":")[::2], count) for key, count in vitals.ends.items()]
        yield _counters("ends", "Terminal events, with the reason or the code.", ["end", "reason"], ends)
        yield _gauge("children", "FFmpeg processes not yet reaped.", vitals.children)
        yield _counter("spawns", "FFmpeg processes started.", vitals.spawns)
        yield _counter("spawn_failures", "FFmpeg processes that could not be started.", vitals.spawn_failures)
        yield _counter("log_lines", "Lines of the log.", vitals.log.written)
        yield _counter("log_lines_dropped", "Lines that could not be written.", vitals.log.dropped)
        yield _gauge("log_sessions", "Sessions with a log level of their own.", len(vitals.log.sessions))
        yield _gauge("delayed_calls", "Timers that the reactor holds.", vitals.process.delayed_calls)
        yield _gauge("memory_blocks", "Blocks that Python has allocated.", vitals.process.memory_blocks)
        yield from _children(vitals.ffmpeg)
        yield from _encoder(vitals.encoder)
        yield from _overload(vitals.overload)
        yield from _pacer(vitals.pacer)
        yield from _delivery(vitals.delivery)
        yield from _queues(vitals.queues)
        yield from _timings(vitals.timings)
        yield from _sources(vitals.sources)
        yield from _door(vitals.door)
        yield from _isolation(vitals.isolation)
        if vitals.extractors is not None:
            yield from _extractors(vitals.extractors)
        if vitals.cache is not None:
            yield from _cache(vitals.cache)
        if vitals.restart is not None:
            yield _counter("restart_taken_up", "Sessions gone on with after a restart.", vitals.restart.taken_up)
            yield _counter("restart_left_out", "Sessions not gone on with after a restart.", vitals.restart.left_out)
        yield from _http(self._traffic)


def _children(ffmpeg: ChildrenVitals) -> Iterator[Metric]:
    yield _counter("children_cpu_seconds", "CPU time of all FFmpeg processes.", ffmpeg.cpu_seconds)
    yield _gauge("children_resident_memory_bytes", "Memory of those there are.", ffmpeg.rss_bytes)
    yield _gauge("children_largest_resident_memory_bytes", "That of the largest.", ffmpeg.largest_rss_bytes)


def _encoder(encoder: EncoderVitals) -> Iterator[Metric]:
    yield _gauge("encoder_threads", "Threads that encode.", encoder.threads)
    yield _gauge("encoder_load_ratio", "Share of the threads' time spent encoding lately.", encoder.load)
    yield _gauge("encoder_jobs_waiting", "Jobs that wait for a thread.", encoder.waiting)
    yield _counter("encoder_frames", "Frames encoded.", encoder.frames)


def _overload(overload: OverloadVitals) -> Iterator[Metric]:
    yield _gauge("usable_cores", "Cores that the daemon and its children may use.", overload.cores)
    yield _gauge("load_ratio", "Share of them that sessions take or will take.", overload.load)
    yield _gauge("opus_complexity", "Effort of every encoder, now.", overload.complexity)
    yield _gauge("opus_complexity_reduced", "1 if that is less than was configured.", overload.reduced)
    yield _gauge("refusing_plays", "1 if a play that takes work would be refused.", overload.refusing)
    yield _counter("plays_refused", "Plays refused for want of room.", overload.refused)


def _pacer(pacer: PacerVitals) -> Iterator[Metric]:
    yield _counter("pacer_ticks", "Ticks of 20 ms.", pacer.ticks)
    yield _gauge(
        "pacer_largest_gap_seconds", "Longest time between two ticks since start.", pacer.largest_gap_ms / 1000
    )
    yield _counter("pacer_skipped_ticks", "Ticks given up after stalls.", pacer.skipped_ticks)
    late = HistogramMetricFamily("audiosvc_pacer_lateness_seconds", "How long after its time each tick came.")
    _add(late, [], pacer.lateness)
    yield late


def _delivery(delivery: DeliveryVitals) -> Iterator[Metric]:
    yield _gauge("delivery_connections", "Clients on the Unix socket.", delivery.connections)
    yield _counter("delivery_packets", "Packets sent.", delivery.packets)
    yield _counter("delivery_bytes", "Bytes sent.", delivery.bytes)
    yield _counter("delivery_underruns", "Times a packet was due and none was there.", delivery.underruns)
    yield _counter("delivery_late_packets", "Packets sent a frame or more after they were due.", delivery.late)
    yield _counter("delivery_missed_packets", "Packets that were due and given up.", delivery.missed)
    yield _gauge(
        "delivery_largest_gap_seconds",
        "Longest time that a session of now went without a packet that was due.",
        delivery.largest_gap_ms / 1000,
    )
    yield _counter("delivery_events_dropped", "Events that nobody came for.", delivery.events_dropped)
    yield _counter("delivery_lines_refused", "Lines from clients that could not be taken.", delivery.lines_refused)
    yield _counter("delivery_resent_packets", "Packets sent again on resume.", delivery.resent)


def _queues(queues: QueueVitals) -> Iterator[Metric]:
    yield _gauge("ready_packets", "Packets made and not yet asked for.", queues.ready_packets)
    yield _gauge("largest_ready_packets", "The most of one session.", queues.largest_ready_packets)
    yield _gauge("waiting_packets", "Packets and events that could not be sent yet.", queues.waiting_packets)
    yield _gauge("largest_waiting_packets", "The most of one session.", queues.largest_waiting_packets)
    yield _gauge("unsent_bytes", "Bytes that sockets have not taken.", queues.unsent_bytes)
    yield _gauge("largest_unsent_bytes", "The most of one connection.", queues.largest_unsent_bytes)


def _timings(timings: TimingVitals) -> Iterator[Metric]:
    yield _histograms("first_packet_seconds", "From a play to its first packet.", ["mode"], timings.plays)
    yield _histograms("seek_seconds", "From a seek to its first packet.", ["mode"], timings.seeks)


def _sources(sources: SourceVitals) -> Iterator[Metric]:
    yield _counter("source_recoveries", "Times that a failed source was opened again and went on.", sources.recoveries)
    yield _counter("source_dropped_packets", "Packets of live sources dropped unheard.", sources.dropped)
    yield _gauge("source_broadcasts", "Live sources being fetched for whoever listens.", sources.broadcasts)
    yield _gauge("source_listeners", "Sessions that hear one of them.", sources.listeners)


def _door(door: DoorVitals) -> Iterator[Metric]:
    yield _gauge("door_permits", "Children that may go through the door.", door.permits)
    yield _gauge("door_connections", "Connections of theirs.", door.connections)
    yield _counter("door_requests", "Requests of theirs.", door.requests)
    yield _counter("door_bytes", "Bytes between them and sources, both ways.", door.bytes)
    refused = [([code], count) for code, count in door.refused.items()]
    yield _counters("door_refused", "Requests refused, by code.", ["code"], refused)


def _isolation(isolation: IsolationVitals) -> Iterator[Metric]:
    yield _gauge("isolation_active", "1 if children that fetch have a network of their own.", isolation.active)
    yield _gauge("isolation_hardened", "1 if children end with the daemon and gain no rights.", isolation.hardened)


def _extractors(extractors: ExtractorVitals) -> Iterator[Metric]:
    yield _gauge("extractors_available", "1 if web pages can be read.", extractors.available)
    yield _gauge("extractors", "yt-dlp processes not yet reaped.", extractors.workers)
    yield _gauge("extractors_busy", "Those at work.", extractors.busy)
    yield _gauge("extractor_calls_waiting", "Look-ups that wait for one.", extractors.waiting)
    yield _counter("extractor_calls", "Look-ups given to one.", extractors.calls)
    yield _counter("extractor_restarts", "Processes that failed and were replaced.", extractors.restarts)
    yield _gauge("extractor_answers_cached", "Answers that are kept.", extractors.cached)


def _cache(cache: CacheVitals) -> Iterator[Metric]:
    yield _gauge("cache_tracks", "Tracks kept in memory.", cache.tracks)
    yield _gauge("cache_bytes", "Memory that they take.", cache.bytes)
    yield _gauge("cache_recording_bytes", "Memory of tracks that may be kept when they have ended.", cache.recording)
    yield _counter("cache_hits", "Plays of what was kept.", cache.hits)
    yield _counter("cache_misses", "Plays of what was not.", cache.misses)
    yield _counter("cache_kept", "Tracks recorded to their end.", cache.kept)
    yield _counter("cache_dropped", "Recordings given up.", cache.dropped)
    yield _gauge("cache_disk", "1 if tracks are kept on disk too.", cache.disk)
    yield _gauge("cache_disk_tracks", "Tracks kept on disk.", cache.disk_tracks)
    yield _gauge("cache_disk_bytes", "What they take there.", cache.disk_bytes)
    yield _counter("cache_disk_errors", "Tracks that could not be written or read, or were damaged.", cache.disk_errors)


def _http(traffic: Traffic) -> Iterator[Metric]:
    answers = [([str(status)], count) for status, count in traffic.answers.items()]
    yield _counters("http_answers", "Answers of the API by HTTP status.", ["status"], answers)
    problems = [([code], count) for code, count in traffic.problems.items()]
    yield _counters("http_problems", "Failures answered by the API, by code.", ["code"], problems)
    yield _gauge("http_connections", "Connections to the API.", traffic.connections)
    yield _counter("http_connections_refused", "Connections closed past the limit.", traffic.connections_refused)
    yield _counter(
        "http_connections_timed_out", "Connections closed for being too slow.", traffic.connections_timed_out
    )


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"audiosvc_{name}", what, value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"audiosvc_{name}", what, value)


def _gauges(name: str, what: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = GaugeMetricFamily(f"audiosvc_{name}", what, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family


def _counters(name: str, what: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = CounterMetricFamily(f"audiosvc_{name}", what, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family


def _histograms(name: str, what: str, labels: Sequence[str], values: Mapping[str, HistogramVitals]) -> Metric:
    family = HistogramMetricFamily(f"audiosvc_{name}", what, labels=labels)
    for label, histogram in values.items():
        _add(family, [label], histogram)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: HistogramVitals) -> None:
    family.add_metric(labels, list(histogram.buckets.items()), histogram.seconds)
