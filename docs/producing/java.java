// Sends three events straight to Kafka, to the topic that is named: java -cp kafka-clients.jar:slf4j-api.jar java.java events

import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

public class Producing {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments[0];
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("TIDEMARK_TEST_KAFKA"));
        // No partitioner is set: the default one places a record by the murmur2 of its key.
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        settings.put(ProducerConfig.ACKS_CONFIG, "all");

        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (String key : List.of("java-1", "java-2", "java-3")) {
                String value = """
                    {"user_id":"u-java","event_type":"sale","occurred_at":"2025-11-04T12:00:00Z","amount":"12.50","till":"4"}""";
                sent.add(producer.send(new ProducerRecord<>(topic, key, value)));
            }
            for (Future<RecordMetadata> record : sent) {
                record.get(); // throws where it is not known to be durable: send all of them again
            }
        }
    }
}
