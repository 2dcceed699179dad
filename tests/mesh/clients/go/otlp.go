package main

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/trace"
)

// An export's time with all its attempts. The default of 10 s leaves little beside the first wait, which is up to 7.5 s.
const timeout = time.Minute

// export sends spans, each in an export of its own, and reports how many exports failed.
func export(address string, count int) error {
	ctx := context.Background()
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithTimeout(timeout))
	if err != nil {
		return err
	}
	failures := []string{}
	provider := trace.NewTracerProvider()
	for n := range count {
		_, span := provider.Tracer("clients").Start(ctx, fmt.Sprint("span ", n))
		span.End()
		if err := exporter.ExportSpans(ctx, []trace.ReadOnlySpan{span.(trace.ReadOnlySpan)}); err != nil {
			failures = append(failures, err.Error())
		}
	}
	if err := exporter.Shutdown(ctx); err != nil {
		return err
	}
	return report(map[string]any{"exports": count, "failures": failures})
}
