"""A FastAPI service with its OpenTelemetry instrumentation, for uvicorn: fastapi_app:app."""

from contextlib import asynccontextmanager

from both import Metrics, Spans
from fastapi import FastAPI, HTTPException
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

tracer_provider = TracerProvider()
tracer_provider.add_span_processor(BatchSpanProcessor(Spans()))
meter_provider = MeterProvider([PeriodicExportingMetricReader(Metrics(), export_interval_millis=3_600_000)])
tracer = tracer_provider.get_tracer("shop")
sold = meter_provider.get_meter("shop").create_counter("items.sold", "{item}")


@asynccontextmanager
async def lifespan(_):
    yield
    tracer_provider.shutdown()
    meter_provider.shutdown()


app = FastAPI(lifespan=lifespan)


@app.get("/items/{item_id}")
async def item(item_id: int):
    with tracer.start_as_current_span("look up", attributes={"item.id": item_id}):
        sold.add(1, {"item.id": item_id})
    return {"item": item_id, "trace": format(trace.get_current_span().get_span_context().trace_id, "032x")}


@app.get("/broken")
async def broken():
    raise HTTPException(503, "out of stock")


FastAPIInstrumentor.instrument_app(app, tracer_provider=tracer_provider, meter_provider=meter_provider)
