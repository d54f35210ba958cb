# shellcheck shell=bash disable=SC2034,SC2154
# Apache Kafka: one KRaft node, broker and controller in one process.

kafka_ports() { echo "$base $((base + 1))"; }
kafka_address() { echo "127.0.0.1:$base"; }

# A metadata request (version 1, no topics). Its answer lists one broker only once the broker is registered and unfenced, which is
# later than the open port and later than an ApiVersions answer.
kafka_answers() {
  [[ $(ask "$base" '\0\0\0\016\0\003\0\001\0\0\0\007\377\377\0\0\0\0' 12) == ????????0000000700000001 ]]
}

kafka_unpack() { maven kafka copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$1"; }

kafka_prepare() {
  local dir=$1 id
  {
    cat "$here/kafka/server.properties"
    echo "controller.quorum.voters=1@127.0.0.1:$((base + 1))"
    echo "listeners=PLAINTEXT://127.0.0.1:$base,CONTROLLER://127.0.0.1:$((base + 1))"
    echo "advertised.listeners=PLAINTEXT://127.0.0.1:$base"
    echo "log.dirs=$dir/data"
  } >"$dir/server.properties"
  [[ ! -e $dir/data/meta.properties ]] || return 0
  # A new id for each wiped log, as with a really new cluster: 16 random bytes in Kafka's base64, never with a leading dash.
  id=$(head -c 16 /dev/urandom | base64 | tr -d = | tr '+/' 'Az')
  "$java" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=file:$here/kafka/log4j2.properties" \
    -cp "$(lib_dir kafka)/*" kafka.tools.StorageTool format --cluster-id "$id" --config "$dir/server.properties"
}

kafka_command() {
  local dir=$1
  command=("$java" "$(marker kafka)" -Xms256m -Xmx768m -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData
    "-Djava.io.tmpdir=$dir/tmp" "-Dlog4j2.configurationFile=file:$here/kafka/log4j2.properties" -Dengines.level=INFO
    -cp "$(lib_dir kafka)/*" kafka.Kafka "$dir/server.properties")
}
