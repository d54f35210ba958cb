// Sends three events straight to Kafka, to the topic that is named: go run go.go events
package main

import (
	"context"
	"log"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	topic := os.Args[1]
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("TIDEMARK_TEST_KAFKA"), ",")...),
		// By the murmur2 of the key, as Java does.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		// The default, and so is idempotence.
		kgo.RequiredAcks(kgo.AllISRAcks()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	const value = `{"user_id":"u-go","event_type":"sale","occurred_at":"2025-11-04T12:00:00Z","amount":"12.50","till":"4"}`
	var records []*kgo.Record
	for _, key := range []string{"go-1", "go-2", "go-3"} {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		log.Fatalf("not all are known to be durable: send all of them again: %v", err)
	}
}
