package main

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
)

type outcome struct {
	Code       string `json:"code"`
	RetryAfter string `json:"retry_after"`
}

func outcomeOf(err error) outcome {
	if err == nil {
		return outcome{Code: "ok"}
	}
	seen := outcome{Code: connect.CodeOf(err).String()}
	if failure, ok := err.(*connect.Error); ok {
		seen.RetryAfter = failure.Meta().Get("retry-after")
	}
	return seen
}

// callConnect makes one call over each protocol and reports its code, and the Retry-After that the caller can read.
func callConnect(url string) error {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: transport}
	unary := func(options ...connect.ClientOption) outcome {
		_, err := connect.NewClient[empty, empty](client, url+service+"Unary", options...).
			CallUnary(context.Background(), connect.NewRequest(&empty{}))
		return outcomeOf(err)
	}
	stream := func(options ...connect.ClientOption) outcome {
		calls, err := connect.NewClient[empty, empty](client, url+service+"Stream", options...).
			CallServerStream(context.Background(), connect.NewRequest(&empty{}))
		if err != nil {
			return outcomeOf(err)
		}
		defer calls.Close()
		for calls.Receive() {
		}
		return outcomeOf(calls.Err())
	}
	return report(map[string]outcome{
		"grpc":           unary(connect.WithGRPC()),
		"grpc_stream":    stream(connect.WithGRPC()),
		"connect_post":   unary(),
		"connect_get":    unary(connect.WithIdempotency(connect.IdempotencyNoSideEffects), connect.WithHTTPGet()),
		"connect_stream": stream(),
		"grpc_web":       unary(connect.WithGRPCWeb()),
	})
}
