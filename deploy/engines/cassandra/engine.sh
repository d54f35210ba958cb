# shellcheck shell=bash disable=SC2034,SC2154
# Apache Cassandra, one node: stands in for ScyllaDB, which no package registry carries.

cassandra_ports() { echo "$((base + 2)) $((base + 3))"; }
cassandra_address() { echo "127.0.0.1:$((base + 2))"; }

# OPTIONS of CQL v4, answered by SUPPORTED. The native port opens last, after the commit log's replay.
cassandra_answers() {
  if [[ $secure == yes ]]; then # TLS alone; the port opens last, and its first role is made a moment later
    is_open "$((base + 2))" && grep -q "Created default superuser role\|superuser role 'cassandra' already" "$(run_dir cassandra)/log" 2>/dev/null
    return
  fi
  [[ $(ask "$((base + 2))" '\004\0\0\0\005\0\0\0\0' 5) == 8400000006 ]]
}

cassandra_unpack() { maven cassandra copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$1"; }

cassandra_prepare() {
  local dir=$1
  {
    cat "$here/cassandra/cassandra.yaml"
    echo "commitlog_sync: $commitlog" # batch: fsync before each answer
    [[ $commitlog == batch ]] || echo 'commitlog_sync_period: 10000ms'
    echo "storage_port: $((base + 3))"
    echo "native_transport_port: $((base + 2))"
    echo "seed_provider: [{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: \"127.0.0.1:$((base + 3))\"}]}]"
    echo "data_file_directories: [\"$dir/data/data\"]"
    echo "commitlog_directory: \"$dir/data/commitlog\""
    echo "saved_caches_directory: \"$dir/data/saved_caches\""
    echo "hints_directory: \"$dir/data/hints\""
    echo "cdc_raw_directory: \"$dir/data/cdc_raw\""
    [[ $secure == no ]] || cassandra_secure
  } >"$dir/cassandra.yaml"
}

# Every connection is encrypted; roles, and rights that were given. The first role is Cassandra's own: cassandra, password cassandra.
cassandra_secure() {
  echo 'authenticator: PasswordAuthenticator'
  echo 'authorizer: CassandraAuthorizer'
  echo 'role_manager: CassandraRoleManager'
  # A right that was given holds at once.
  echo 'permissions_validity: 0ms'
  echo 'roles_validity: 0ms'
  echo 'client_encryption_options:'
  echo '  enabled: true'
  echo '  optional: false'
  echo "  keystore: $(certificates)/server.p12"
  echo '  keystore_password: engines'
  echo '  store_type: PKCS12'
}

cassandra_command() {
  local dir=$1 lib name
  lib=$(lib_dir cassandra)
  command=("$java" "$(marker cassandra)" -Xms2g -Xmx2g -Xmn800m -Xss512k -XX:+UseParallelGC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData
    "-javaagent:$(echo "$lib"/jamm-*.jar)" "-Djava.io.tmpdir=$dir/tmp"
    "-Dcassandra.config=file://$dir/cassandra.yaml" "-Dcassandra.storagedir=$dir/data" -Dcassandra-foreground=yes
    "-Dlogback.configurationFile=file:$here/cassandra/logback.xml"
    # A single node has nobody to wait for.
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=100 -Dcassandra.superuser_setup_delay_ms=0
    -Djdk.attach.allowAttachSelf=true -Dio.netty.tryReflectionSetAccessible=true -Djava.net.preferIPv4Stack=true)
  # What Cassandra's own start script opens for Java 17.
  for name in java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry \
    java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref jdk.unsupported/sun.misc \
    jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach; do
    command+=(--add-exports "$name=ALL-UNNAMED")
  done
  for name in java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
    java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar \
    jdk.management/com.sun.management.internal java.base/sun.nio.ch java.base/java.io java.base/java.lang.reflect \
    jdk.compiler/com.sun.tools.javac java.base/java.lang java.base/java.util; do
    command+=(--add-opens "$name=ALL-UNNAMED")
  done
  command+=(-cp "$lib/*" org.apache.cassandra.service.CassandraDaemon)
}
