# shellcheck shell=bash disable=SC2034,SC2154
# Apache Kafka: one KRaft node, broker and controller in one process.

kafka_ports() {
  echo "$base $((base + 1))"
  [[ $secure == no ]] || echo "$((base + 5)) $((base + 6)) $((base + 7))"
}
kafka_address() { echo "127.0.0.1:$base"; }

# A metadata request (version 1, no topics). Its answer lists one broker only once the broker is registered and unfenced, which is
# later than the open port and later than an ApiVersions answer.
kafka_answers() {
  if [[ $secure == yes ]]; then # it answers nobody whom it does not know
    is_open "$base" && grep -q 'Kafka Server started' "$(run_dir kafka)/log" 2>/dev/null
    return
  fi
  [[ $(ask "$base" '\0\0\0\016\0\003\0\001\0\0\0\007\377\377\0\0\0\0' 12) == ????????0000000700000001 ]]
}

kafka_unpack() { maven kafka copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$1"; }

kafka_prepare() {
  local dir=$1 id users=()
  mapfile -t users < <(kafka_users)
  {
    cat "$here/kafka/server.properties"
    echo "controller.quorum.voters=1@127.0.0.1:$((base + 1))"
    echo "log.dirs=$dir/data"
    if [[ $secure == yes ]]; then
      kafka_secure
    else
      echo 'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT'
      echo "listeners=PLAINTEXT://127.0.0.1:$base,CONTROLLER://127.0.0.1:$((base + 1))"
      echo "advertised.listeners=PLAINTEXT://127.0.0.1:$base"
    fi
  } >"$dir/server.properties"
  [[ ! -e $dir/data/meta.properties ]] || return 0
  # A new id for each wiped log, as with a really new cluster: 16 random bytes in Kafka's base64, never with a leading dash.
  id=$(head -c 16 /dev/urandom | base64 | tr -d = | tr '+/' 'Az')
  "$java" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=file:$here/kafka/log4j2.properties" \
    -cp "$(lib_dir kafka)/*" kafka.tools.StorageTool format --cluster-id "$id" --config "$dir/server.properties" \
    "${users[@]}"
}

# Clients come by SASL_SSL (base), or by a certificate of their own (base + 5). Two more ports show certificates that nobody may believe:
# one that has expired (base + 6), one of another host (base + 7). Nobody has a right but who was given it.
kafka_secure() {
  local name port certs listeners=CONTROLLER://127.0.0.1:$((base + 1)) advertised=''
  certs=$(certificates)
  port=$base
  for name in SASL MTLS EXPIRED ELSEWHERE; do
    listeners+=",$name://127.0.0.1:$port" advertised+="${advertised:+,}$name://127.0.0.1:$port"
    port=$((port == base ? base + 5 : port + 1))
  done
  echo "listeners=$listeners"
  echo "advertised.listeners=$advertised"
  echo 'listener.security.protocol.map=CONTROLLER:SSL,SASL:SASL_SSL,MTLS:SSL,EXPIRED:SSL,ELSEWHERE:SSL'
  echo 'inter.broker.listener.name=MTLS'
  echo 'ssl.keystore.type=PEM'
  echo 'ssl.truststore.type=PEM'
  echo "ssl.keystore.location=$certs/server.both.pem"
  echo "ssl.truststore.location=$certs/ca.pem"
  echo 'listener.name.controller.ssl.client.auth=required'
  echo 'listener.name.mtls.ssl.client.auth=required'
  for name in expired elsewhere; do
    echo "listener.name.$name.ssl.keystore.type=PEM"
    echo "listener.name.$name.ssl.keystore.location=$certs/$name.both.pem"
  done
  echo 'sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256'
  for name in 512 256; do
    echo "listener.name.sasl.scram-sha-$name.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
  done
  echo 'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer'
  echo 'super.users=User:admin;User:CN=server'
}

# A test's users, each with its name as password.
kafka_users() {
  local name
  [[ $secure == yes ]] || return 0
  for name in admin ingest aggregate query audit nobody; do
    echo --add-scram
    echo "SCRAM-SHA-512=[name=$name,password=$name-password]"
  done
}

kafka_command() {
  local dir=$1
  command=("$java" "$(marker kafka)" -Xms256m -Xmx768m -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData
    "-Djava.io.tmpdir=$dir/tmp" "-Dlog4j2.configurationFile=file:$here/kafka/log4j2.properties" -Dengines.level=INFO
    -cp "$(lib_dir kafka)/*" kafka.Kafka "$dir/server.properties")
}
