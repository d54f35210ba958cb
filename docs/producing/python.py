"""Sends three events straight to Kafka, to the topic that is named: python3 python.py events"""

import json
import os
import sys

from confluent_kafka import Producer

topic = sys.argv[1]
producer = Producer({
    "bootstrap.servers": os.environ["TIDEMARK_TEST_KAFKA"],
    "partitioner": "murmur2_random",  # librdkafka's own default is another one
    "enable.idempotence": True,
    "acks": "all",
})

failed = []


def delivered(error, record):
    if error is not None:
        failed.append(f"{record.key()}: {error}")


for key in ["python-1", "python-2", "python-3"]:
    event = {
        "user_id": "u-python",
        "event_type": "sale",
        "occurred_at": "2025-11-04T12:00:00Z",
        "amount": "12.50",
        "till": "4",
    }
    producer.produce(topic, key=key, value=json.dumps(event), on_delivery=delivered)

left = producer.flush(30)
if failed or left:
    sys.exit(f"{left} without an answer, {failed}: send all of them again")
