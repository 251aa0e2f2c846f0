package main

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// twice hands one collection to two exporters, so that both have the same times.
type twice struct {
	sdkmetric.Exporter
	control sdkmetric.Exporter
}

func (t twice) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	return errors.Join(t.Exporter.Export(ctx, data), t.control.Export(ctx, data))
}

func (t twice) Shutdown(ctx context.Context) error {
	return errors.Join(t.Exporter.Shutdown(ctx), t.control.Shutdown(ctx))
}

// sendMore exports 6 data points and 5 log records by gRPC to endpoint, and by HTTP to control.
func sendMore(ctx context.Context, endpoint string, headers map[string]string, control string) error {
	return errors.Join(sendMetrics(ctx, endpoint, headers, control), sendLogs(ctx, endpoint, headers, control))
}

func sendMetrics(ctx context.Context, endpoint string, headers map[string]string, control string) error {
	first, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpointURL(endpoint), otlpmetricgrpc.WithHeaders(headers))
	if err != nil {
		return err
	}
	second, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(control+"/v1/metrics"))
	if err != nil {
		return err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(twice{first, second})))
	meter := provider.Meter("outage", metric.WithInstrumentationVersion("4.5.6"))
	requests, _ := meter.Int64Counter("requests", metric.WithUnit("{request}"), metric.WithDescription("Grüße, 世界"))
	for _, route := range []string{"/carts", "/carts/:id", "/pay"} {
		requests.Add(ctx, int64(len(route)), metric.WithAttributes(attribute.String("route", route)))
	}
	open, _ := meter.Float64UpDownCounter("carts.open")
	open.Add(ctx, -2.5, metric.WithAttributes(attribute.StringSlice("kinds", []string{"a", "b"})))
	duration, _ := meter.Float64Histogram("duration", metric.WithUnit("s"))
	for _, seconds := range []float64{0.001, 0.2, 7, 100} {
		duration.Record(ctx, seconds)
	}
	temperature, _ := meter.Float64Gauge("temperature")
	temperature.Record(ctx, -3.25, metric.WithAttributes(attribute.String("place", "Kühlraum")))
	return provider.Shutdown(ctx)
}

func sendLogs(ctx context.Context, endpoint string, headers map[string]string, control string) error {
	first, err := otlploggrpc.New(ctx, otlploggrpc.WithEndpointURL(endpoint), otlploggrpc.WithHeaders(headers))
	if err != nil {
		return err
	}
	second, err := otlploghttp.New(ctx, otlploghttp.WithEndpointURL(control+"/v1/logs"))
	if err != nil {
		return err
	}
	provider := sdklog.NewLoggerProvider(
		sdklog.WithProcessor(sdklog.NewBatchProcessor(first)), sdklog.WithProcessor(sdklog.NewBatchProcessor(second)))
	logger := provider.Logger("outage", log.WithInstrumentationVersion("4.5.6"))
	bodies := []attribute.Value{
		attribute.StringValue("opened"),
		attribute.Float64Value(0.1),
		attribute.ByteSliceValue([]byte{0, 255}),
		attribute.SliceValue(attribute.Int64Value(1), attribute.BoolValue(true)),
		attribute.MapValue(attribute.Int("cart", 7), attribute.StringSlice("items", []string{"apple"})),
	}
	for number, body := range bodies {
		var record log.Record
		record.SetTimestamp(time.Now())
		record.SetSeverity(log.SeverityInfo + log.Severity(number))
		record.SetSeverityText("words")
		record.SetEventName("cart.abandoned")
		record.SetBody(body)
		record.AddAttributes(attribute.Int("number", number))
		logger.Emit(ctx, record)
	}
	return provider.Shutdown(ctx)
}
