"""A service with the stock OpenTelemetry Python SDK. It makes SPANS spans, one each INTERVAL_MS, named by their number, and exports
them to ENDPOINT with TOKEN, by PROTOCOL (grpc; else http/protobuf), and where CONTROL is set there too, by HTTP. Everything else is as
the SDK has it."""

import os
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

endpoint, token = os.environ["ENDPOINT"], os.environ["TOKEN"]
spans, interval_ms = int(os.environ["SPANS"]), int(os.environ["INTERVAL_MS"])

provider = TracerProvider()
headers = {"authorization": f"Bearer {token}"}
if os.environ.get("PROTOCOL") == "grpc":
    exporter = GrpcSpanExporter(endpoint, headers=headers)
else:
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", headers=headers)
provider.add_span_processor(BatchSpanProcessor(exporter))
if "CONTROL" in os.environ:
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{os.environ['CONTROL']}/v1/traces")))
tracer = provider.get_tracer("outage")
for number in range(spans):
    tracer.start_span(f"python {number};").end()
    if number == 0:
        print("sending", flush=True)
    time.sleep(interval_ms / 1000)
provider.shutdown()
print("done", flush=True)
