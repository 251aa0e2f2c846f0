import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporterBuilder;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.SdkTracerProviderBuilder;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * A service with the stock OpenTelemetry Java SDK and its JDK sender, or for gRPC its OkHttp one. It makes SPANS spans, one each
 * INTERVAL_MS, named by their number, and exports them to ENDPOINT with TOKEN, by PROTOCOL (grpc; else http/protobuf), and where CONTROL is
 * set there too, by HTTP. Everything else is as the SDK has it; what its autoconfiguration reads of the variables is read here.
 */
public final class Outage {
  public static void main(String[] args) throws IOException, InterruptedException {
    int spans = Integer.parseInt(System.getenv("SPANS"));
    long intervalMs = Long.parseLong(System.getenv("INTERVAL_MS"));
    String service = System.getenv().getOrDefault("OTEL_SERVICE_NAME", "outage");
    SdkTracerProviderBuilder builder =
        SdkTracerProvider.builder()
            .setResource(Resource.getDefault().toBuilder().put("service.name", service).build());
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

  private static byte[] bytes(String variable) throws IOException {
    return Files.readAllBytes(Path.of(System.getenv(variable)));
  }
}
