//! The configuration as a whole: what beats what, and what is refused with which words.

use std::ffi::OsString;
use std::io::Write;

use super::*;

fn load(file: Option<&str>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let file = file.map(|text| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    });
    let env: Vec<_> = env
        .iter()
        .map(|(k, v)| (OsString::from(k), OsString::from(v)))
        .collect();
    let flags = flags
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    load::load(file.as_ref().map(|file| file.path()), env.into_iter(), flags)
}

fn refused(file: Option<&str>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(file, env, flags).unwrap_err().to_string()
}

fn setting(config: &Config, key: &str) -> Setting {
    config
        .explain()
        .into_iter()
        .find(|setting| setting.key == key)
        .unwrap()
}

#[test]
fn the_defaults_are_valid_and_say_so() {
    let config = load(None, &[], &[]).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert!(config.explain().iter().all(|setting| setting.source == "default"));
    assert_eq!(setting(&config, "http.body_limit_bytes").value, "5368709120");
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "[http]\nconnections = 7\nresults_limit = 7\nrequest_queue = 7\n";
    let env = [
        ("TIDEMARK_HTTP__RESULTS_LIMIT", "8"),
        ("TIDEMARK_HTTP__REQUEST_QUEUE", "8"),
    ];
    let config = load(Some(file), &env, &[("http.request_queue", "9")]).unwrap();
    assert_eq!(
        (
            config.http.connections,
            config.http.results_limit,
            config.http.request_queue
        ),
        (7, 8, 9)
    );
    assert!(setting(&config, "http.connections").source.starts_with("file /"));
    assert_eq!(
        setting(&config, "http.results_limit").source,
        "TIDEMARK_HTTP__RESULTS_LIMIT"
    );
    assert_eq!(setting(&config, "http.request_queue").source, "flag");
    assert_eq!(setting(&config, "http.row_limit_bytes").source, "default");
}

#[test]
fn text_becomes_what_the_setting_is() {
    let env = [
        ("TIDEMARK_STORE__NODES", "a:9042, b:9042"),
        ("TIDEMARK_STORE__CONSISTENCY", "local_one"),
        ("TIDEMARK_KAFKA__GROUP", "123"),
        ("TIDEMARK_KAFKA__EXTRA__CLIENT_RACK", "a"),
        ("TIDEMARK_REGISTRY__URL", ""),
        ("TIDEMARK_DATA", "/tmp/x"),
        ("TIDEMARK_TRACES__SHARE", "0.25"),
        ("TIDEMARK_STORE__DATACENTER", "eu"),
    ];
    let config = load(None, &env, &[]).unwrap();
    assert_eq!(config.traces.share, 0.25);
    assert_eq!(config.store.datacenter.as_deref(), Some("eu"));
    assert_eq!(config.store.nodes, ["a:9042", "b:9042"]);
    assert_eq!(config.store.consistency, Consistency::LocalOne);
    assert_eq!(config.kafka.group, "123");
    assert_eq!(config.kafka.extra["client.rack"], "a");
    assert_eq!(
        setting(&config, "kafka.extra.client.rack").source,
        "TIDEMARK_KAFKA__EXTRA__CLIENT_RACK"
    );
    assert_eq!(config.registry.url, None);
    assert_eq!(config.data, Path::new("/tmp/x"));
}

#[test]
fn an_unknown_key_in_the_file_is_refused() {
    let text = refused(Some("[http]\nlisten_adress = \"x\"\n"), &[], &[]);
    assert!(text.contains("http.listen_adress"), "{text}");
    assert!(text.contains("known here: listen, admin_listen"), "{text}");
    assert!(text.contains("(from file /"), "{text}");
    let text = refused(Some("[htpt]\nlisten = \"x\"\n"), &[], &[]);
    assert!(text.contains("\n  htpt (from file /"), "{text}");
}

#[test]
fn an_unknown_variable_is_refused_with_the_right_one() {
    let env = [
        ("TIDEMARK_HTTP_LISTEN", "127.0.0.1:1"),
        ("TIDEMARK_NONSENSE", "1"),
        ("TIDEMARK_http__listen", "x"),
    ];
    let text = refused(None, &env, &[]);
    assert!(
        text.contains("TIDEMARK_HTTP_LISTEN") && text.contains("mean TIDEMARK_HTTP__LISTEN?"),
        "{text}"
    );
    assert!(text.contains("TIDEMARK_NONSENSE"), "{text}");
    assert!(text.contains("TIDEMARK_http__listen"), "{text}");
}

#[test]
fn variables_of_tests_of_kubernetes_and_of_send_are_let_be() {
    let env = [
        ("TIDEMARK_TEST_BROKERS", "x"),
        ("TIDEMARK_ENGINES_DIR", "x"),
        ("TIDEMARK_INGEST_SERVICE_HOST", "10.0.0.1"),
        ("TIDEMARK_INGEST_SERVICE_PORT_HTTP", "8080"),
        ("TIDEMARK_PORT", "tcp://10.0.0.1:8080"),
        ("TIDEMARK_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("TIDEMARK_SERVER", "http://127.0.0.1:8080"),
        ("TIDEMARK_QUERY_SERVER", "http://127.0.0.1:8090"),
        ("TIDEMARK_SEND_ROWS", "1000000"),
        ("TIDEMARK_LOG", "debug"),
    ];
    let config = load(None, &env, &[]).unwrap();
    assert_eq!(config.log.filter, "debug");
    assert_eq!(setting(&config, "log.filter").source, "TIDEMARK_LOG");
    load(None, &[("TIDEMARK_PORT_NUMBER", "1")], &[]).unwrap_err();
}

#[test]
fn an_address_that_others_can_reach_is_refused_without_keys() {
    for key in ["http.listen", "http.admin_listen"] {
        let text = refused(None, &[], &[(key, "0.0.0.0:9080")]);
        assert!(
            text.contains(key) && text.contains("must be a loopback address"),
            "{text}"
        );
    }
    load(None, &[], &[("http.listen", "[::1]:8080")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let listen = ("http.listen", "0.0.0.0:9080");
    refused(None, &[], &[("data", data), listen]);
    std::fs::write(folder.path().join("keys.jsonl"), "").unwrap();
    load(None, &[], &[("data", data), listen]).unwrap();
    let keys = folder.path().join("keys.jsonl");
    load(None, &[], &[("access.keys_file", keys.to_str().unwrap()), listen]).unwrap();
    // Keys do not open the admin port, which asks for none.
    refused(
        None,
        &[],
        &[("data", data), ("http.admin_listen", "0.0.0.0:9081")],
    );
    let open = [("http.admin_listen", "0.0.0.0:9081"), ("http.admin_open", "true")];
    load(None, &[], &open).unwrap();
}

#[test]
fn an_origin_has_no_path_and_no_star() {
    let good = "https://console.example,http://localhost:3000,https://[::1]:8443";
    let config = load(None, &[("TIDEMARK_HTTP__CORS_ORIGINS", good)], &[]).unwrap();
    assert_eq!(config.http.cors_origins.len(), 3);
    for bad in [
        "*",
        "https://*",
        "console.example",
        "https://a/",
        "https://a/b",
        "ftp://a",
        "https://",
        "https://u@a",
        "https://A",
        "null",
    ] {
        refused(None, &[], &[("http.cors_origins", bad)]);
    }
}

#[test]
fn all_values_out_of_limits_are_named_at_once() {
    let env = [
        ("TIDEMARK_KAFKA__PARTITIONS", "0"),
        ("TIDEMARK_AGGREGATOR__LANES", "0"),
    ];
    let text = refused(None, &env, &[("store.nodes", "nowhere")]);
    assert!(
        text.contains("kafka.partitions = \"0\" (from TIDEMARK_KAFKA__PARTITIONS): must be at least 1"),
        "{text}"
    );
    assert!(text.contains("aggregator.lanes"), "{text}");
    assert!(text.contains("store.nodes = \"nowhere\" (from flag)"), "{text}");
}

#[test]
fn a_wrong_type_names_key_value_and_source() {
    let text = refused(None, &[("TIDEMARK_HTTP__CONNECTIONS", "many")], &[]);
    assert!(
        text.contains("http.connections = \"many\" (from TIDEMARK_HTTP__CONNECTIONS)"),
        "{text}"
    );
    let text = refused(None, &[], &[("store.consistency", "all")]);
    assert!(
        text.contains("must be one of: local_quorum, quorum, one, local_one"),
        "{text}"
    );
    let text = refused(None, &[], &[("http.listen", "localhost")]);
    assert!(text.contains("http.listen = \"localhost\" (from flag)"), "{text}");
    let text = refused(None, &[], &[("kafka.partitions", "-1")]);
    assert!(text.contains("kafka.partitions = \"-1\" (from flag)"), "{text}");
}

#[test]
fn a_secret_shows_nowhere() {
    let secret = "hunter2";
    let file = format!("[kafka.extra]\n\"ssl.key.password\" = \"{secret}\"\n\"client.rack\" = \"me\"\n");
    let config = load(Some(&file), &[], &[]).unwrap();
    assert_eq!(config.kafka.extra["ssl.key.password"], secret);
    assert_eq!(
        setting(&config, "kafka.extra.ssl.key.password").value,
        "<redacted>"
    );
    assert_eq!(setting(&config, "kafka.extra.client.rack").value, "me");
    assert!(!format!("{config:?}").contains(secret));
    for broken in [
        format!("[kafka.extra]\n\"ssl.key.password\" = {secret}\n"),
        format!("[kafka.extra]\nssl.key.password = \"{secret}\"\n"),
        format!("[kafka.extra]\n\"ssl.key.password\" = [\"{secret}\"]\n"),
        format!("[kafka.extra]\n\"ssl.key.password\" = \"{secret}\"\n[http]\nconnections = 0\n"),
    ] {
        let error = load(Some(&broken), &[], &[]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[test]
fn our_own_secret_shows_nowhere() {
    let config = load(Some("[http]\nlive_event_secret = \"hunter2\"\n"), &[], &[]).unwrap();
    assert_eq!(config.http.live_event_secret.reveal(), "hunter2");
    let shown = format!("{config:?} {:?}", config.explain());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_secret_comes_from_a_file() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"hunter2\n").unwrap();
    let path = secret.path().to_str().unwrap();
    let env = [("TIDEMARK_KAFKA__EXTRA_FILES__SSL_KEY_PASSWORD", path)];
    let config = load(None, &env, &[]).unwrap();
    assert_eq!(config.kafka.extra["ssl.key.password"], "hunter2");
    assert_eq!(
        setting(&config, "kafka.extra.ssl.key.password").value,
        "<redacted>"
    );
    let text = refused(
        None,
        &[],
        &[("kafka.extra_files.ssl.key.password", "/nowhere/at/all")],
    );
    assert!(
        text.contains("kafka.extra_files.ssl.key.password = \"/nowhere/at/all\""),
        "{text}"
    );
}

#[test]
fn a_property_that_exactly_once_rests_on_is_refused() {
    let text = refused(None, &[], &[("kafka.extra.enable.idempotence", "false")]);
    assert!(text.contains("kafka.extra.enable.idempotence"), "{text}");
    let text = refused(None, &[], &[("kafka.extra.sasl.password", "hunter2")]);
    assert!(
        text.contains("kafka.extra.sasl.password") && !text.contains("hunter2"),
        "{text}"
    );
    // Most clients are asked for none, and they would pile up.
    let text = refused(None, &[], &[("kafka.extra.statistics.interval.ms", "1000")]);
    assert!(text.contains("kafka.extra.statistics.interval.ms"), "{text}");
}

#[test]
fn the_file_named_by_its_variable_is_read() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"data = \"/tmp/y\"\n").unwrap();
    let config = load(None, &[("TIDEMARK_CONFIG", file.path().to_str().unwrap())], &[]).unwrap();
    assert_eq!(config.data, Path::new("/tmp/y"));
    let text = refused(None, &[("TIDEMARK_CONFIG", "/nowhere/at/all.toml")], &[]);
    assert!(text.contains("/nowhere/at/all.toml"), "{text}");
}
