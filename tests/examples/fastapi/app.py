"""A FastAPI service that sends traces and metrics by OTLP/HTTP. Where to, its environment says: app:app, for uvicorn."""

from contextlib import asynccontextmanager

from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# Endpoint, certificates, headers and the service's name are read from the variables OTEL_*.
traces = TracerProvider()
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(traces)
measures = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
metrics.set_meter_provider(measures)

tracer = trace.get_tracer("shop")
sold = metrics.get_meter("shop").create_counter("items.sold", "{item}")


@asynccontextmanager
async def lifespan(_):
    yield
    # Sends what is left.
    traces.shutdown()
    measures.shutdown()


app = FastAPI(lifespan=lifespan)
FastAPIInstrumentor.instrument_app(app)


@app.get("/items/{item_id}")
async def item(item_id: int):
    with tracer.start_as_current_span("look up", attributes={"item.id": item_id}):
        sold.add(1)
    return {"item": item_id}
