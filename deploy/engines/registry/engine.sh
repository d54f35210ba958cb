# shellcheck shell=bash disable=SC2034,SC2154
# Apicurio Registry, of which Tidemark uses only Confluent's API.

registry_ports() { echo "$((base + 4))"; }
registry_address() { echo "http://127.0.0.1:$((base + 4))/apis/ccompat/v7"; }

# "HTTP/1.x 200" from the list of subjects, which reads the store.
registry_answers() {
  [[ $(ask "$((base + 4))" 'GET /apis/ccompat/v7/subjects HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' 12) == 485454502f312e??20323030 ]]
}

registry_unpack() {
  maven registry copy "-DoutputDirectory=$1" && tar -xzf "$1"/apicurio-registry-app-*.tar.gz -C "$1" && rm "$1"/*.tar.gz
}

registry_prepare() { :; }

# The store is an H2 file. H2 writes half a second late by default, and a killed registry would forget the schemas of that time.
registry_command() {
  local dir=$1
  command=("$java" "$(marker registry)" -Xmx300m -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData "-Djava.io.tmpdir=$dir/tmp"
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$((base + 4))" -Dquarkus.http.access-log.enabled=false
    "-Dapicurio.datasource.url=jdbc:h2:file:$dir/data/registry;WRITE_DELAY=0"
    -jar "$(lib_dir registry)/apicurio-registry-app-$(version registry)-runner.jar")
}
