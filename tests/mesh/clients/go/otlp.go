package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/trace"
)

// export sends spans, each in an export of its own, and reports how many exports failed.
func export(address string, count int) error {
	ctx := context.Background()
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithInsecure())
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
