"""Exporters that hand every batch on twice: by the variables OTEL_EXPORTER_OTLP_*, as any service would, and to CONTROL_URL by HTTP,
so that a test can compare what arrives on both ways. They count what they are given and what fails."""

import os

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

CONTROL = os.environ["CONTROL_URL"]
GRPC = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc"
sent = {"spans": 0, "dataPoints": 0, "logRecords": 0}
failures = []


class Spans(SpanExporter):
    def __init__(self):
        self.ways = [GrpcSpanExporter() if GRPC else OTLPSpanExporter(), OTLPSpanExporter(endpoint=f"{CONTROL}/v1/traces")]

    def export(self, spans):
        sent["spans"] += len(spans)
        return worst([way.export(spans) for way in self.ways], SpanExportResult.SUCCESS)

    def shutdown(self):
        for way in self.ways:
            way.shutdown()


class Metrics(MetricExporter):
    def __init__(self):
        super().__init__()
        self.ways = [GrpcMetricExporter() if GRPC else OTLPMetricExporter(), OTLPMetricExporter(endpoint=f"{CONTROL}/v1/metrics")]

    def export(self, metrics_data, timeout_millis=10_000, **more):
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                sent["dataPoints"] += sum(len(metric.data.data_points) for metric in scope.metrics)
        return worst([way.export(metrics_data) for way in self.ways], MetricExportResult.SUCCESS)

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **more):
        for way in self.ways:
            way.shutdown()


class LogRecords(LogRecordExporter):
    def __init__(self):
        self.ways = [GrpcLogExporter() if GRPC else OTLPLogExporter(), OTLPLogExporter(endpoint=f"{CONTROL}/v1/logs")]

    def export(self, batch):
        sent["logRecords"] += len(batch)
        return worst([way.export(batch) for way in self.ways], LogRecordExportResult.SUCCESS)

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self):
        for way in self.ways:
            way.shutdown()


def worst(results, success):
    bad = [result for result in results if result is not success]
    failures.extend(str(result) for result in bad)
    return bad[0] if bad else success
