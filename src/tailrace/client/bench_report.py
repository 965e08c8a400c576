"""What a run of `tailrace bench` came to, as data and as text. Pure."""

from typing import Final, Self

from msgspec import Struct

from tailrace.client.tally import Tally

_MS: Final = 1e6
_BUSY: Final = 0.8  # of a core: from here on the latency is this client's as much as the gateway's
_TOLD_GAPS: Final = 5


class Report(Struct, frozen=True):
    """Latencies in milliseconds. client_busy: cores this process used. produced: None when it wrote nothing itself."""

    connections: int
    ready: int
    connect_seconds: float
    seconds: float
    records: int
    records_per_second: float
    megabytes_per_second: float
    latency_from: str
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    missing: int
    disordered: int
    gaps: list[str]
    refusals: dict[str, int]
    produced: int | None
    failed: int
    client_busy: float

    @classmethod
    def of(
        cls,
        tally: Tally,
        *,
        connections: int,
        ready: int,
        connect_seconds: float,
        seconds: float,
        client_busy: float,
        missing: int,
        produced: int | None,
        failed: int,
    ) -> Self:
        """A run's figures."""
        p50, p90, p99, p999 = (tally.latency.percentile(share) / _MS for share in (0.5, 0.9, 0.99, 0.999))
        return cls(
            connections=connections,
            ready=ready,
            connect_seconds=connect_seconds,
            seconds=seconds,
            records=tally.records,
            records_per_second=tally.records / seconds,
            megabytes_per_second=tally.bytes / seconds / 1e6,
            latency_from="Kafka's timestamp" if produced is None else "the intended send time",
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            p999_ms=p999,
            max_ms=tally.latency.largest / _MS,
            missing=missing,
            disordered=tally.disordered,
            gaps=tally.gaps,
            refusals=tally.refusals,
            produced=produced,
            failed=failed,
            client_busy=client_busy,
        )

    @property
    def holds(self) -> bool:
        """Nothing is missing, out of order or refused."""
        return not (self.missing or self.disordered or self.gaps or self.refusals or self.ready < self.connections)


def summary(report: Report) -> str:
    """For a person."""
    rate = f"{report.records_per_second:,.0f} a second, {report.megabytes_per_second:.1f} MB/s"
    most = f"p50 {report.p50_ms:.1f}  p90 {report.p90_ms:.1f}  p99 {report.p99_ms:.1f}"
    rest = f"p99.9 {report.p999_ms:.1f}  max {report.max_ms:.1f} ms from {report.latency_from}"
    found = f"{report.missing:,} missing, {report.disordered:,} out of order or twice, {len(report.gaps):,} gaps"
    lines = [
        f"connections  {report.ready:,} of {report.connections:,} in {report.connect_seconds:.1f} s",
        f"records      {report.records:,} in {report.seconds:.1f} s: {rate}",
        f"latency      {most}  {rest}" if report.records else "latency      not measured: no record came",
        f"checked      {found}",
    ]
    if report.produced is not None:
        lines.append(f"produced     {report.produced:,}, {report.failed:,} of them failed")
    lines += [f"gap          {gap}" for gap in report.gaps[:_TOLD_GAPS]]
    lines += [f"ended        {count:,} connections: {why}" for why, count in report.refusals.items()]
    if report.client_busy > _BUSY:
        lines.append(
            f"beware       this client used {report.client_busy:.0%} of a core: the latency is partly its own;"
            " run several with fewer connections"
        )
    lines.append("all there" if report.holds else "NOT all there")
    return "\n".join(lines)
