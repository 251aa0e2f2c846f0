// A service with the stock OpenTelemetry Go SDK. It makes SPANS spans, one each INTERVAL_MS, named by their number, and exports
// them to ENDPOINT with TOKEN. Everything else is as the SDK has it.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/trace"
)

func number(name string) int {
	value, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(os.Getenv("ENDPOINT")+"/v1/traces"),
		otlptracehttp.WithHeaders(map[string]string{"Authorization": "Bearer " + os.Getenv("TOKEN")}))
	if err != nil {
		panic(err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter))
	tracer := provider.Tracer("outage")
	spans, interval := number("SPANS"), time.Duration(number("INTERVAL_MS"))*time.Millisecond
	for i := range spans {
		_, span := tracer.Start(ctx, fmt.Sprintf("go %d;", i))
		span.End()
		if i == 0 {
			fmt.Println("sending")
		}
		time.Sleep(interval)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := provider.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Println("done")
}
