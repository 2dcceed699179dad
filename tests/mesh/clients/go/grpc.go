package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// As docs/clients.md recommends it.
const retries = `{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s",
	"backoffMultiplier": 2, "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]}}]}`

// callGrpc reports the status code and the time in ms of each call.
func callGrpc(address, method string, count, deadline int) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(retries))
	if err != nil {
		return err
	}
	defer connection.Close()
	codes, took := []uint32{}, []int64{}
	for range count {
		ctx, cancel := context.Background(), func() {}
		if deadline > 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(deadline)*time.Millisecond)
		}
		began := time.Now()
		err := connection.Invoke(ctx, service+method, &empty{}, &empty{})
		took = append(took, time.Since(began).Milliseconds())
		codes = append(codes, uint32(status.Code(err)))
		cancel()
	}
	return report(map[string]any{"codes": codes, "took": took})
}
