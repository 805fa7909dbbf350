"""What the simulated world is made of: names, shares and typical values, as tables. All made up, plausible in size."""

from __future__ import annotations

from dataclasses import dataclass

SERVICES = ("vod", "live", "download", "compute")


@dataclass(frozen=True, slots=True)
class ServiceProfile:
    """How a service behaves on a healthy box near its clients. Latency in ms (compute: task duration), throughput
    in kB/s; sigmas are of the natural logarithm; probabilities are per request, `stall` per session."""

    apps: tuple[str, ...]
    latency_median: float
    latency_sigma: float
    timeout_latency: float
    throughput_median: float
    throughput_sigma: float
    mean_bytes: float
    failure: float
    cache_hit: float
    stall: float
    plays: bool
    transfers: bool
    slow_threshold: float
    low_threshold: float
    targets: tuple[tuple[str, float], ...]  # measure -> share of good that is promised


PROFILES = {
    "vod": ServiceProfile(
        apps=("edge-cache", "p2p-relay"),
        latency_median=60.0,
        latency_sigma=0.55,
        timeout_latency=10_000.0,
        throughput_median=1_400.0,
        throughput_sigma=0.6,
        mean_bytes=300_000.0,
        failure=0.003,
        cache_hit=0.92,
        stall=0.008,
        plays=True,
        transfers=True,
        slow_threshold=400.0,
        low_threshold=250.0,
        targets=(("failures", 0.99), ("slow_requests", 0.985), ("stalled_sessions", 0.97), ("low_throughput", 0.98)),
    ),
    "live": ServiceProfile(
        apps=("live-relay", "edge-cache"),
        latency_median=45.0,
        latency_sigma=0.5,
        timeout_latency=5_000.0,
        throughput_median=1_100.0,
        throughput_sigma=0.5,
        mean_bytes=250_000.0,
        failure=0.004,
        cache_hit=0.97,
        stall=0.012,
        plays=True,
        transfers=True,
        slow_threshold=300.0,
        low_threshold=200.0,
        targets=(("failures", 0.99), ("slow_requests", 0.985), ("stalled_sessions", 0.96)),
    ),
    "download": ServiceProfile(
        apps=("edge-cache", "patcher"),
        latency_median=90.0,
        latency_sigma=0.6,
        timeout_latency=15_000.0,
        throughput_median=2_200.0,
        throughput_sigma=0.7,
        mean_bytes=900_000.0,
        failure=0.004,
        cache_hit=0.85,
        stall=0.0,
        plays=False,
        transfers=True,
        slow_threshold=800.0,
        low_threshold=300.0,
        targets=(("failures", 0.99), ("slow_requests", 0.985), ("low_throughput", 0.98)),
    ),
    "compute": ServiceProfile(
        apps=("transcode", "render"),
        latency_median=35_000.0,
        latency_sigma=0.5,
        timeout_latency=1_800_000.0,
        throughput_median=1.0,
        throughput_sigma=0.1,
        mean_bytes=150_000.0,
        failure=0.006,
        cache_hit=0.0,
        stall=0.0,
        plays=False,
        transfers=False,
        slow_threshold=180_000.0,
        low_threshold=1.0,
        targets=(("failures", 0.985), ("slow_requests", 0.985)),
    ),
}


def _hours(morning: str, evening: str) -> tuple[float, ...]:
    return tuple(float(factor) for factor in f"{morning} {evening}".split())


# Requests by the hour of the clients' day, relative to the day's mean: 0:00 to 11:00, then 12:00 to 23:00 local time.
DAY = {
    "vod": _hours(
        "0.7 0.4 0.25 0.2 0.2 0.25 0.4 0.6 0.7 0.8 0.85 1.0",
        "1.2 1.15 1.0 0.95 1.0 1.15 1.4 1.8 2.1 2.2 1.9 1.2",
    ),
    "live": _hours(
        "0.8 0.5 0.3 0.2 0.15 0.15 0.25 0.4 0.5 0.6 0.7 0.9",
        "1.1 1.0 0.9 0.9 1.0 1.2 1.5 2.0 2.4 2.4 2.1 1.4",
    ),
    "download": _hours(
        "0.9 0.7 0.6 0.5 0.5 0.5 0.6 0.8 0.9 1.0 1.0 1.1",
        "1.2 1.1 1.0 1.0 1.1 1.2 1.3 1.4 1.5 1.5 1.3 1.1",
    ),
    "compute": _hours(
        "1.5 1.6 1.7 1.7 1.7 1.6 1.4 1.1 0.9 0.8 0.8 0.8",
        "0.8 0.8 0.8 0.8 0.8 0.7 0.7 0.6 0.6 0.6 0.8 1.2",
    ),
}
WEEKEND = {"vod": 1.2, "live": 1.25, "download": 1.1, "compute": 0.9}

CARRIERS = ("China-Telecom", "China-Mobile", "China-Unicom", "China-Broadnet", "CERNET")
CARRIER_SHARES = (0.37, 0.31, 0.24, 0.05, 0.03)


@dataclass(frozen=True, slots=True)
class Region:
    """Where boxes and clients are; `own_isp` set: the one carrier of a place outside the mainland."""

    name: str
    share: float
    utc_offset_h: int = 8
    own_isp: str = ""


REGIONS = (
    Region("Guangdong", 0.18),
    Region("Jiangsu", 0.12),
    Region("Shandong", 0.11),
    Region("Zhejiang", 0.11),
    Region("Henan", 0.09),
    Region("Sichuan", 0.09),
    Region("Beijing", 0.08),
    Region("Shanghai", 0.07),
    Region("Hubei", 0.06),
    Region("Liaoning", 0.04),
    Region("Hong-Kong", 0.02, own_isp="HKT"),
    Region("Singapore", 0.02, own_isp="Singtel"),
    Region("Tokyo", 0.01, utc_offset_h=9, own_isp="NTT"),
)
ISPS = CARRIERS + tuple(r.own_isp for r in REGIONS if r.own_isp)


@dataclass(frozen=True, slots=True)
class Model:
    """A box model; `firmwares`: what runs on it at the start, newest last, with the share of each."""

    name: str
    share: float
    firmwares: tuple[str, ...]
    firmware_shares: tuple[float, ...]
    next_firmware: str


MODELS = (
    Model("mb3", 0.34, ("mb3-2.7.9", "mb3-2.8.1"), (0.15, 0.85), "mb3-2.9"),
    Model("mb2", 0.24, ("mb2-1.14.2",), (1.0,), "mb2-1.15"),
    Model("wk1", 0.20, ("wk1-4.0.3", "wk1-4.1.0"), (0.3, 0.7), "wk1-4.2"),
    Model("rk35", 0.14, ("rk35-0.9.12",), (1.0,), "rk35-0.10"),
    Model("ao7", 0.08, ("ao7-6.3.0",), (1.0,), "ao7-6.4"),
)
NAT_TYPES = ("full-cone", "restricted", "port-restricted", "symmetric", "public")
NAT_SHARES = (0.25, 0.2, 0.3, 0.2, 0.05)
COHORTS = ("canary", "early", "main")  # the order in which a gray release reaches boxes
COHORT_SHARES = (0.05, 0.25, 0.70)
MEDIAN_CAPACITY_MBPS = 40.0

# Customers by size, largest first: id, name for people, services with their share of the customer's requests.
CUSTOMERS: tuple[tuple[str, str, tuple[tuple[str, float], ...]], ...] = (
    ("aurora-video", "Aurora Video", (("vod", 0.75), ("live", 0.25))),
    ("pearl-live", "Pearl Live", (("live", 1.0),)),
    ("river-games", "River Games", (("download", 1.0),)),
    ("lantern-tv", "Lantern TV", (("vod", 0.6), ("live", 0.4))),
    ("orchid-learn", "Orchid Learning", (("vod", 0.8), ("download", 0.2))),
    ("granite-apps", "Granite App Store", (("download", 1.0),)),
    ("willow-render", "Willow Render", (("compute", 1.0),)),
    ("sparrow-radio", "Sparrow Radio", (("live", 1.0),)),
)
EXTRA_SERVICES = ((("vod", 1.0),), (("download", 1.0),), (("live", 1.0),), (("compute", 1.0),))
SHARED_RULES = ("nearest-isp", "least-loaded", "fill-idle")
RULE_OWNERS = ("traffic-team", "cost-team", "live-team", "platform-team")

AGENT_VERSION = "0.1.0"
