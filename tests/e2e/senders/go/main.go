// A service with the stock OpenTelemetry Go SDK. It makes SPANS spans, one each INTERVAL_MS, named by their number, and exports
// them to ENDPOINT with TOKEN, by PROTOCOL (grpc; else http/protobuf), and where CONTROL is set there too, by HTTP, and metrics and logs
// as well. Everything else is as the SDK has it.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
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
	headers := map[string]string{"authorization": "Bearer " + os.Getenv("TOKEN")}
	var exporter *otlptrace.Exporter
	var err error
	if os.Getenv("PROTOCOL") == "grpc" {
		exporter, err = otlptracegrpc.New(ctx,
			otlptracegrpc.WithEndpointURL(os.Getenv("ENDPOINT")), otlptracegrpc.WithHeaders(headers))
	} else {
		exporter, err = otlptracehttp.New(ctx,
			otlptracehttp.WithEndpointURL(os.Getenv("ENDPOINT")+"/v1/traces"), otlptracehttp.WithHeaders(headers))
	}
	if err != nil {
		panic(err)
	}
	options := []trace.TracerProviderOption{trace.WithBatcher(exporter)}
	if url := os.Getenv("CONTROL"); url != "" {
		control, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(url+"/v1/traces"))
		if err != nil {
			panic(err)
		}
		options = append(options, trace.WithBatcher(control))
	}
	provider := trace.NewTracerProvider(options...)
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
	if control := os.Getenv("CONTROL"); control != "" {
		if err := sendMore(ctx, os.Getenv("ENDPOINT"), headers, control); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	fmt.Println("done")
}
