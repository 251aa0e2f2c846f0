import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.KeyValue;
import io.opentelemetry.api.common.Value;
import io.opentelemetry.api.logs.Logger;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.metrics.DoubleHistogram;
import io.opentelemetry.api.metrics.LongCounter;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.exporter.otlp.http.logs.OtlpHttpLogRecordExporter;
import io.opentelemetry.exporter.otlp.http.metrics.OtlpHttpMetricExporter;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.logs.OtlpGrpcLogRecordExporter;
import io.opentelemetry.exporter.otlp.metrics.OtlpGrpcMetricExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporterBuilder;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.logs.SdkLoggerProvider;
import io.opentelemetry.sdk.logs.export.BatchLogRecordProcessor;
import io.opentelemetry.sdk.logs.export.LogRecordExporter;
import io.opentelemetry.sdk.metrics.InstrumentType;
import io.opentelemetry.sdk.metrics.SdkMeterProvider;
import io.opentelemetry.sdk.metrics.data.AggregationTemporality;
import io.opentelemetry.sdk.metrics.data.MetricData;
import io.opentelemetry.sdk.metrics.export.MetricExporter;
import io.opentelemetry.sdk.metrics.export.PeriodicMetricReader;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.SdkTracerProviderBuilder;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * A service with the stock OpenTelemetry Java SDK and its JDK sender, or for gRPC its OkHttp one. It makes SPANS spans, one each
 * INTERVAL_MS, named by their number, and exports them to ENDPOINT with TOKEN, by PROTOCOL (grpc; else http/protobuf), and where CONTROL is
 * set there too, by HTTP, and metrics and logs as well. Everything else is as the SDK has it; what its autoconfiguration reads of the
 * variables is read here.
 */
public final class Outage {
  public static void main(String[] args) throws IOException, InterruptedException {
    int spans = Integer.parseInt(System.getenv("SPANS"));
    long intervalMs = Long.parseLong(System.getenv("INTERVAL_MS"));
    String service = System.getenv().getOrDefault("OTEL_SERVICE_NAME", "outage");
    Resource resource = Resource.getDefault().toBuilder().put("service.name", service).build();
    SdkTracerProviderBuilder builder = SdkTracerProvider.builder().setResource(resource);
    add(builder, "grpc".equals(System.getenv("PROTOCOL")) ? byGrpc() : byHttp(System.getenv("ENDPOINT")));
    if (System.getenv("CONTROL") != null) add(builder, byHttp(System.getenv("CONTROL")));
    SdkTracerProvider provider = builder.build();
    Tracer tracer = provider.get("outage");
    for (int number = 0; number < spans; number++) {
      tracer.spanBuilder("java " + number + ";").startSpan().end();
      if (number == 0) System.out.println("sending");
      Thread.sleep(intervalMs);
    }
    provider.shutdown().join(60, TimeUnit.SECONDS);
    if (System.getenv("CONTROL") != null) {
      sendMetrics(resource);
      sendLogs(resource);
    }
    System.out.println("done");
    System.exit(0);
  }

  private static void add(SdkTracerProviderBuilder builder, SpanExporter exporter) {
    builder.addSpanProcessor(
        BatchSpanProcessor.builder(exporter)
            .setScheduleDelay(Duration.ofMillis(Long.parseLong(System.getenv("OTEL_BSP_SCHEDULE_DELAY"))))
            .build());
  }

  private static SpanExporter byHttp(String endpoint) {
    return OtlpHttpSpanExporter.builder()
        .setEndpoint(endpoint + "/v1/traces")
        .addHeader("Authorization", "Bearer " + System.getenv("TOKEN"))
        .build();
  }

  private static SpanExporter byGrpc() throws IOException {
    OtlpGrpcSpanExporterBuilder builder =
        OtlpGrpcSpanExporter.builder()
            .setEndpoint(System.getenv("ENDPOINT"))
            .addHeader("authorization", "Bearer " + System.getenv("TOKEN"));
    if (System.getenv("OTEL_EXPORTER_OTLP_COMPRESSION") != null) {
      builder.setCompression(System.getenv("OTEL_EXPORTER_OTLP_COMPRESSION"));
    }
    if (System.getenv("OTEL_EXPORTER_OTLP_CERTIFICATE") != null) {
      builder.setTrustedCertificates(bytes("OTEL_EXPORTER_OTLP_CERTIFICATE"));
    }
    if (System.getenv("OTEL_EXPORTER_OTLP_CLIENT_KEY") != null) {
      builder.setClientTls(bytes("OTEL_EXPORTER_OTLP_CLIENT_KEY"), bytes("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"));
    }
    return builder.build();
  }

  /** Exports 6 data points by gRPC to ENDPOINT, and by HTTP to CONTROL. */
  private static void sendMetrics(Resource resource) {
    MetricExporter grpc =
        OtlpGrpcMetricExporter.builder()
            .setEndpoint(System.getenv("ENDPOINT"))
            .addHeader("authorization", "Bearer " + System.getenv("TOKEN"))
            .build();
    MetricExporter http =
        OtlpHttpMetricExporter.builder().setEndpoint(System.getenv("CONTROL") + "/v1/metrics").build();
    SdkMeterProvider provider =
        SdkMeterProvider.builder()
            .setResource(resource)
            .registerMetricReader(PeriodicMetricReader.create(new Twice(grpc, http)))
            .build();
    Meter meter = provider.meterBuilder("outage").setInstrumentationVersion("4.5.6").build();
    LongCounter requests =
        meter.counterBuilder("requests").setUnit("{request}").setDescription("Grüße, 世界").build();
    for (String route : List.of("/carts", "/carts/:id", "/pay")) {
      requests.add(route.length(), Attributes.of(AttributeKey.stringKey("route"), route));
    }
    meter.upDownCounterBuilder("carts.open").ofDoubles().build()
        .add(-2.5, Attributes.of(AttributeKey.stringArrayKey("kinds"), List.of("a", "b")));
    DoubleHistogram duration = meter.histogramBuilder("duration").setUnit("s").build();
    for (double seconds : new double[] {0.001, 0.2, 7, 100}) duration.record(seconds);
    meter.gaugeBuilder("temperature").build()
        .set(-3.25, Attributes.of(AttributeKey.stringKey("place"), "Kühlraum"));
    provider.shutdown().join(60, TimeUnit.SECONDS);
  }

  /** Exports 5 log records by gRPC to ENDPOINT, and by HTTP to CONTROL. */
  private static void sendLogs(Resource resource) {
    LogRecordExporter grpc =
        OtlpGrpcLogRecordExporter.builder()
            .setEndpoint(System.getenv("ENDPOINT"))
            .addHeader("authorization", "Bearer " + System.getenv("TOKEN"))
            .build();
    LogRecordExporter http =
        OtlpHttpLogRecordExporter.builder().setEndpoint(System.getenv("CONTROL") + "/v1/logs").build();
    SdkLoggerProvider provider =
        SdkLoggerProvider.builder()
            .setResource(resource)
            .addLogRecordProcessor(BatchLogRecordProcessor.builder(grpc).build())
            .addLogRecordProcessor(BatchLogRecordProcessor.builder(http).build())
            .build();
    Logger logger = provider.loggerBuilder("outage").setInstrumentationVersion("4.5.6").build();
    List<Value<?>> bodies =
        List.of(
            Value.of("opened"),
            Value.of(0.1),
            Value.of(new byte[] {0, (byte) 255}),
            Value.of(Value.of(1), Value.of(true)),
            Value.of(KeyValue.of("cart", Value.of(7)), KeyValue.of("items", Value.of(Value.of("apple")))));
    for (int number = 0; number < bodies.size(); number++) {
      logger.logRecordBuilder()
          .setTimestamp(Instant.now())
          .setSeverity(Severity.values()[Severity.INFO.ordinal() + number])
          .setSeverityText("words")
          .setEventName("cart.abandoned")
          .setBody(bodies.get(number))
          .setAttribute(AttributeKey.longKey("number"), (long) number)
          .emit();
    }
    provider.shutdown().join(60, TimeUnit.SECONDS);
  }

  /** Hands one collection to two exporters, so that both have the same times. */
  private record Twice(MetricExporter first, MetricExporter second) implements MetricExporter {
    @Override
    public CompletableResultCode export(Collection<MetricData> metrics) {
      return CompletableResultCode.ofAll(List.of(first.export(metrics), second.export(metrics)));
    }

    @Override
    public CompletableResultCode flush() {
      return CompletableResultCode.ofAll(List.of(first.flush(), second.flush()));
    }

    @Override
    public CompletableResultCode shutdown() {
      return CompletableResultCode.ofAll(List.of(first.shutdown(), second.shutdown()));
    }

    @Override
    public AggregationTemporality getAggregationTemporality(InstrumentType type) {
      return first.getAggregationTemporality(type);
    }
  }

  private static byte[] bytes(String variable) throws IOException {
    return Files.readAllBytes(Path.of(System.getenv(variable)));
  }
}
