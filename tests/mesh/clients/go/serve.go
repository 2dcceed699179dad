package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"connectrpc.com/connect"
	trace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

type empty = emptypb.Empty

// serve answers until it is ended: HTTP/1.1, and HTTP/2 without TLS. GET /spans is the number of spans that came.
func serve(address string) error {
	var spans atomic.Int64
	routes := http.NewServeMux()
	answer := func(context.Context, *connect.Request[empty]) (*connect.Response[empty], error) {
		return connect.NewResponse(&empty{}), nil
	}
	for _, method := range []string{"Window", "Slow", "Never", "Unary"} {
		path := service + method
		routes.Handle(path, connect.NewUnaryHandler(path, answer, connect.WithIdempotency(connect.IdempotencyNoSideEffects)))
	}
	stream := func(_ context.Context, _ *connect.Request[empty], to *connect.ServerStream[empty]) error {
		return to.Send(&empty{})
	}
	routes.Handle(service+"Stream", connect.NewServerStreamHandler(service+"Stream", stream))
	const traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	take := func(_ context.Context, request *connect.Request[trace.ExportTraceServiceRequest]) (*connect.Response[trace.ExportTraceServiceResponse], error) {
		for _, resource := range request.Msg.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				spans.Add(int64(len(scope.Spans)))
			}
		}
		return connect.NewResponse(&trace.ExportTraceServiceResponse{}), nil
	}
	routes.Handle(traces, connect.NewUnaryHandler(traces, take))
	routes.HandleFunc("/spans", func(to http.ResponseWriter, _ *http.Request) { fmt.Fprint(to, spans.Load()) })
	routes.HandleFunc("/", func(to http.ResponseWriter, _ *http.Request) { fmt.Fprint(to, "ok") })
	server := http.Server{Addr: address, Handler: routes, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.ListenAndServe()
}
