//! The Kafka proxy before a real broker: what passes through it, what its faults do to librdkafka, and what a
//! late EndTxn of protocol 1 does to the transaction that is open when it arrives. The proxy's own
//! documentation states these as facts; here they are measured, so a broker or client that behaves otherwise
//! fails a test.

mod rig; // topics, producers and readers on the broker that `make test` started
mod passing; // nothing is broken: all goes through the proxy
mod faults; // answers lost, requests held, doubled, delayed; pause and cut
mod tears; // an EndTxn that arrives inside a later transaction
