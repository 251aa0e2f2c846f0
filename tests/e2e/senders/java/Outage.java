import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * A service with the stock OpenTelemetry Java SDK and its JDK sender. It makes SPANS spans, one each INTERVAL_MS, named by their number,
 * and exports them to ENDPOINT with TOKEN. Everything else is as the SDK has it.
 */
public final class Outage {
  public static void main(String[] args) throws InterruptedException {
    int spans = Integer.parseInt(System.getenv("SPANS"));
    long intervalMs = Long.parseLong(System.getenv("INTERVAL_MS"));
    OtlpHttpSpanExporter exporter =
        OtlpHttpSpanExporter.builder()
            .setEndpoint(System.getenv("ENDPOINT") + "/v1/traces")
            .addHeader("Authorization", "Bearer " + System.getenv("TOKEN"))
            .build();
    SdkTracerProvider provider =
        SdkTracerProvider.builder()
            .addSpanProcessor(
                BatchSpanProcessor.builder(exporter)
                    .setScheduleDelay(Duration.ofMillis(Long.parseLong(System.getenv("OTEL_BSP_SCHEDULE_DELAY"))))
                    .build())
            .build();
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
}
