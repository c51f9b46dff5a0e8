package main

import (
	"context"
	"fmt"
	"log/slog"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// startTraces sends spans to the endpoint; without one it gives nil, and nothing is traced. end sends what is left.
func startTraces(ctx context.Context, s traceSettings, log *slog.Logger) (tracer trace.Tracer, end func(context.Context), err error) {
	if s.Endpoint == "" {
		return nil, func(context.Context) {}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(s.Endpoint))
	if err != nil {
		return nil, nil, fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are not sent", "error", err.Error()) }))
	tracer, end = tracesTo(sdktrace.NewBatchSpanProcessor(exporter), s.Ratio)
	return tracer, end, nil
}

// tracesTo makes a tracer whose spans go to p. The resource says no more than the program's name: neither host nor command
// line, which the library would add by itself, belong to whoever collects traces.
func tracesTo(p sdktrace.SpanProcessor, ratio float64) (trace.Tracer, func(context.Context)) {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(p), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "elicence"))))
	return provider.Tracer("github.com/elicence/elicence"), func(ctx context.Context) { _ = provider.Shutdown(ctx) }
}
