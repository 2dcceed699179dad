package main

import (
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// callHTTP reports the calls' statuses and, of each refusal, Retry-After in seconds and the wait that the client takes
// from it in ms.
func callHTTP(url string, count int) error {
	client := retryablehttp.NewClient()
	client.Logger = nil
	requested, waits := []string{}, []int64{}
	client.Backoff = func(least, most time.Duration, attempt int, response *http.Response) time.Duration {
		wait := retryablehttp.DefaultBackoff(least, most, attempt, response)
		if response != nil {
			requested, waits = append(requested, response.Header.Get("retry-after")), append(waits, wait.Milliseconds())
		}
		return wait
	}
	statuses := []int{}
	for range count {
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		response.Body.Close()
		statuses = append(statuses, response.StatusCode)
	}
	return report(map[string]any{"statuses": statuses, "requested": requested, "waits": waits})
}
