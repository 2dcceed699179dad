// Clients in Go for the tests of clients that retry, and a service for them:
//
//	clients serve PORT                             answers every call over gRPC, gRPC-Web and Connect; counts spans
//	clients grpc PORT METHOD COUNT DEADLINE_MS     grpc-go with a usual retry policy; DEADLINE_MS is 0 for none
//	clients http PORT PATH COUNT                   go-retryablehttp
//	clients connect PORT                           connect-go, over each of its protocols
//	clients otlp PORT COUNT                        OpenTelemetry's exporter of traces over gRPC
//	clients versions                               the libraries' versions, as they were built
//
// Calls are made one after the other. The last line that a client prints is its report, as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
)

const service = "/test.Clients/"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 1 && arguments[0] == "versions" {
		return report(versions())
	}
	if len(arguments) < 2 {
		return fmt.Errorf("usage: clients serve|grpc|http|connect|otlp PORT …, or versions")
	}
	address := "127.0.0.1:" + arguments[1]
	switch what, rest := arguments[0], arguments[2:]; {
	case what == "serve" && len(rest) == 0:
		return serve(address)
	case what == "grpc" && len(rest) == 3:
		return callGrpc(address, rest[0], number(rest[1]), number(rest[2]))
	case what == "http" && len(rest) == 2:
		return callHTTP("http://"+address+rest[0], number(rest[1]))
	case what == "connect" && len(rest) == 0:
		return callConnect("http://" + address)
	case what == "otlp" && len(rest) == 1:
		return export(address, number(rest[0]))
	}
	return fmt.Errorf("usage: clients serve|grpc|http|connect|otlp PORT …, or versions")
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return value
}

func report(values any) error {
	return json.NewEncoder(os.Stdout).Encode(values)
}

func versions() map[string]string {
	found := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		found["go"] = info.GoVersion
		for _, module := range info.Deps {
			found[module.Path] = module.Version
		}
	}
	return found
}
