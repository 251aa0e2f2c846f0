"""A service with the stock OpenTelemetry Python SDK. Prints how much it sent as one line of JSON; ends with 1 when an export
failed."""

import json
import sys

from both import LogRecords, Metrics, Spans, failures, sent
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

tracer_provider = TracerProvider()
tracer_provider.add_span_processor(BatchSpanProcessor(Spans(), max_export_batch_size=50, max_queue_size=1000))
tracer = tracer_provider.get_tracer("till", "4.5.6", schema_url="https://opentelemetry.io/schemas/1.41.0")

remote = SpanContext(
    0x4BF92F3577B34DA6A3CE929D0E0E4736,
    0x00F067AA0BA902B7,
    is_remote=True,
    trace_flags=TraceFlags(TraceFlags.SAMPLED),
    trace_state=TraceState([("vendor", "value"), ("other", "1")]),
)
caller = trace.set_span_in_context(trace.NonRecordingSpan(remote))
link = Link(SpanContext(0x5B8EFFF798038103D269B633813FC60C, 0xEEE19B7EC3C1B174, is_remote=True), {"why": "retried"})
with tracer.start_as_current_span("checkout", caller, kind=SpanKind.SERVER):
    with tracer.start_as_current_span("charge", kind=SpanKind.CLIENT, links=[link]) as span:
        span.set_attributes(
            {
                "text": "Grüße, 世界 🛒",
                "empty": "",
                "whole": 2**63 - 1,
                "negative": -(2**63),
                "real": 0.1,
                "yes": True,
                "texts": ["a", "b"],
                "wholes": [1, 2, 3],
                "reals": [0.5, 1.5],
                "long": "x" * 20_000,
            }
        )
        span.add_event("declined", {"card.kind": "debit", "tries": 3})
        span.record_exception(ValueError("no funds"))
        span.set_status(Status(StatusCode.ERROR, "declined"))
    with tracer.start_as_current_span("enqueue", kind=SpanKind.PRODUCER):
        with tracer.start_as_current_span("consume", kind=SpanKind.CONSUMER) as span:
            span.set_status(StatusCode.OK)
    for line in range(120):
        with tracer.start_as_current_span(f"line {line}", attributes={"line": line}):
            pass

meter_provider = MeterProvider(
    [PeriodicExportingMetricReader(Metrics(), export_interval_millis=3_600_000)],
    views=[View(instrument_name="basket.value", aggregation=ExponentialBucketHistogramAggregation())],
)
meter = meter_provider.get_meter("till", "4.5.6")
requests = meter.create_counter("requests", "{request}", "Requests served")
for route in ("/carts", "/carts/:id", "/pay"):
    requests.add(len(route), {"route": route})
meter.create_up_down_counter("carts.open").add(-2)
duration = meter.create_histogram("duration", "s")
for seconds in (0.001, 0.2, 7, 100):
    duration.record(seconds, {"route": "/pay"})
basket = meter.create_histogram("basket.value", "EUR")
for euros in (0, 0.5, 12.75, 1_000_000):
    basket.record(euros)
meter.create_observable_gauge("temperature", [lambda _: [Observation(-3.25, {"place": "Kühlraum"})]])
meter.create_gauge("humidity").set(47)

logger_provider = LoggerProvider()
logger_provider.add_log_record_processor(BatchLogRecordProcessor(LogRecords(), max_export_batch_size=10))
logger = logger_provider.get_logger("till", "4.5.6")
logger.emit(LogRecord(body="opened", severity_number=SeverityNumber.INFO, severity_text="INFO", context=caller))
logger.emit(
    LogRecord(
        timestamp=1709208000125000001,
        body={"cart": 7, "items": ["apple", {"name": "pear", "price": 0.4}], "paid": False},
        severity_number=SeverityNumber.ERROR4,
        event_name="cart.abandoned",
        attributes={"bytes": b"\x00\xff", "nested": {"deep": [1, "two"]}},
    )
)
for line in range(25):
    logger.emit(LogRecord(timestamp=1709208000000000000 + line, body=f"line {line}", attributes={"line": line}))

tracer_provider.shutdown()
meter_provider.shutdown()
logger_provider.shutdown()
print(json.dumps(sent))
if failures:
    sys.exit("\n".join(failures))
