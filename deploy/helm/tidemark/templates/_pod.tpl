{{/* What all pods have in common. Each is called with (dict "root" $ "role" "ingest"). */}}

{{/* Name of the release's things; short, since pods put 17 characters behind it and names end at 63. */}}
{{- define "tidemark.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- $name | trunc 35 | trimSuffix "-" -}}
{{- end }}

{{- define "tidemark.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "tidemark.labels" -}}
{{ include "tidemark.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "tidemark.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is not set: no public registry has the image, build it from deploy/image/Dockerfile" $image.repository -}}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}{{ else }}{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* The Secrets of a role, by the folder below /etc/tidemark in which each is mounted. */}}
{{- define "tidemark.secrets" -}}
{{- $values := .root.Values -}}
{{- if has .role (list "ingest" "query") }}
keys: {{ required "keys.secret is not set: beyond loopback the program serves only with keys; `tidemark keys create` makes them" $values.keys.secret | quote }}
http: {{ $values.http.tlsSecret | quote }}
{{- else }}
registry-ca: {{ $values.registry.caSecret | quote }}
{{- end }}
kafka-ca: {{ $values.kafka.caSecret | quote }}
store-ca: {{ $values.store.caSecret | quote }}
login: {{ (get $values .role).login.secret | quote }}
{{- end }}

{{/* The variables of a role, as a map. */}}
{{- define "tidemark.environment" -}}
{{- $values := .root.Values -}}
{{- $login := (get $values .role).login -}}
{{- $folder := "/etc/tidemark" -}}
TIDEMARK_LOG__FORMAT: json
TIDEMARK_HTTP__ADMIN_LISTEN: 0.0.0.0:8081
# The network policy says who reaches it.
TIDEMARK_HTTP__ADMIN_OPEN: "true"
TIDEMARK_KAFKA__BROKERS: {{ required "kafka.brokers is not set" $values.kafka.brokers | quote }}
TIDEMARK_STORE__NODES: {{ required "store.nodes is not set" $values.store.nodes | quote }}
{{- if has .role (list "ingest" "query") }}
TIDEMARK_HTTP__LISTEN: 0.0.0.0:8080
TIDEMARK_ACCESS__KEYS_FILE: {{ $folder }}/keys/keys.jsonl
{{- if and (eq .role "ingest") $login.liveEventSecret }}
TIDEMARK_HTTP__LIVE_EVENT_SECRET_FILE: {{ $folder }}/login/live-event-secret
{{- end }}
{{- if $values.http.tlsSecret }}
TIDEMARK_HTTP__TLS__CERTIFICATE_FILE: {{ $folder }}/http/tls.crt
TIDEMARK_HTTP__TLS__KEY_FILE: {{ $folder }}/http/tls.key
{{- end }}
{{- else }}
TIDEMARK_REGISTRY__URL: {{ required "registry.url is not set" $values.registry.url | quote }}
{{- if $values.registry.caSecret }}
TIDEMARK_REGISTRY__CA_FILE: {{ $folder }}/registry-ca/ca.crt
{{- end }}
{{- if $login.registryUser }}
TIDEMARK_REGISTRY__USERNAME: {{ $login.registryUser | quote }}
TIDEMARK_REGISTRY__PASSWORD_FILE: {{ $folder }}/login/registry-password
{{- end }}
{{- end }}
{{- if $values.kafka.tls }}
TIDEMARK_KAFKA__TLS__ENABLED: "true"
{{- end }}
{{- if $values.kafka.caSecret }}
TIDEMARK_KAFKA__TLS__CA_FILE: {{ $folder }}/kafka-ca/ca.crt
{{- end }}
{{- if $login.kafkaCertificate }}
TIDEMARK_KAFKA__TLS__CERTIFICATE_FILE: {{ $folder }}/login/kafka.crt
TIDEMARK_KAFKA__TLS__KEY_FILE: {{ $folder }}/login/kafka.key
{{- end }}
{{- if $login.kafkaUser }}
TIDEMARK_KAFKA__SASL__USERNAME: {{ $login.kafkaUser | quote }}
TIDEMARK_KAFKA__SASL__PASSWORD_FILE: {{ $folder }}/login/kafka-password
{{- end }}
{{- if $values.store.tls }}
TIDEMARK_STORE__TLS__ENABLED: "true"
{{- end }}
{{- if $values.store.caSecret }}
TIDEMARK_STORE__TLS__CA_FILE: {{ $folder }}/store-ca/ca.crt
{{- end }}
{{- if $login.storeUser }}
TIDEMARK_STORE__USERNAME: {{ $login.storeUser | quote }}
TIDEMARK_STORE__PASSWORD_FILE: {{ $folder }}/login/store-password
{{- end }}
{{- if and $values.traces.endpoint (ne .role "migrate") }}
TIDEMARK_TRACES__ENDPOINT: {{ $values.traces.endpoint | quote }}
{{- end }}
{{- end }}

{{/* How long a stop may take, in seconds: http.drain_delay_ms, then requests, lanes and projector, http.drain_deadline_ms each. Around them 5 s before
     the signal, and 10 for a question that a broker does not answer. */}}
{{- define "tidemark.grace" -}}
{{- $deadline := get .Values.settings "http.drain_deadline_ms" | default 20000 | int64 -}}
{{- $delay := get .Values.settings "http.drain_delay_ms" | default 0 | int64 -}}
{{- add 15 (div (add (mul 3 $deadline) $delay 999) 1000) -}}
{{- end }}

{{/* The pod of a role. */}}
{{- define "tidemark.pod" -}}
{{- $values := .root.Values -}}
{{- $own := get $values .role -}}
{{- $serves := has .role (list "ingest" "query") -}}
{{- $secrets := include "tidemark.secrets" . | fromYaml -}}
{{- $resources := $own.resources | default (dict "requests" (dict "cpu" "100m" "memory" "64Mi") "limits" (dict "memory" "256Mi")) -}}
{{- if and (eq .role "aggregate") (not $own.spill.storageClass) }}
{{- /* So that a node is chosen whose disk has that room. */}}
{{- $resources = merge (deepCopy $resources) (dict "requests" (dict "ephemeral-storage" $own.spill.size)) -}}
{{- end -}}
# Else a Service called tidemark would put variables into the pod that begin with TIDEMARK_, and the program refuses those it does not know.
enableServiceLinks: false
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ include "tidemark.grace" .root }}
{{- with $values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # So that it reads its Secrets, which belong to root, and owns its volume.
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- if ne .role "migrate" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "tidemark.selector" . | nindent 8 }}
{{- end }}
containers:
  - name: {{ .role }}
    image: {{ include "tidemark.image" .root | quote }}
    args:
      - {{ .role }}
      {{- /* A number of YAML is a float to Helm; as JSON it has no exponent. */}}
      {{- range $key, $value := $values.settings }}
      - --set
      - {{ printf "%s=%s" $key (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
      {{- end }}
      {{- if eq .role "migrate" }}
      {{- range $own.args }}
      - {{ quote . }}
      {{- end }}
      {{- end }}
    env:
      {{- range $name, $value := include "tidemark.environment" . | fromYaml }}
      - {name: {{ $name }}, value: {{ $value | quote }}}
      {{- end }}
      {{- if eq .role "aggregate" }}
      # A name that outlives the pod: started again, it has its partitions back at once, and its transactions go on under their ids.
      - name: TIDEMARK_KAFKA__INSTANCE_ID
        valueFrom: {fieldRef: {fieldPath: metadata.name}}
      {{- end }}
    resources: {{ toJson $resources }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    {{- if ne .role "migrate" }}
    ports:
      {{- if $serves }}
      - {name: http, containerPort: 8080}
      {{- end }}
      - {name: admin, containerPort: 8081}
    # It answers from its start, whatever it waits for: that Kafka or the store is away must not have it killed.
    livenessProbe:
      httpGet: {path: /live, port: admin}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /ready, port: admin}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 2
    {{- end }}
    {{- if $serves }}
    # Readiness falls before the drain, but the port is closed at that very moment, and the nodes learn a little later that the pod is
    # leaving: until then they send it connections.
    lifecycle:
      preStop: {sleep: {seconds: 5}}
    {{- end }}
    volumeMounts:
      - {name: data, mountPath: /data}
      {{- range $folder, $secret := $secrets }}
      {{- if $secret }}
      - {name: {{ $folder }}, mountPath: /etc/tidemark/{{ $folder }}, readOnly: true}
      {{- end }}
      {{- end }}
volumes:
  - name: data
    {{- if and (eq .role "aggregate") $own.spill.storageClass }}
    ephemeral:
      volumeClaimTemplate:
        spec:
          accessModes: [ReadWriteOnce]
          storageClassName: {{ $own.spill.storageClass }}
          resources: {requests: {storage: {{ $own.spill.size }}}}
    {{- else }}
    emptyDir: {sizeLimit: {{ eq .role "aggregate" | ternary (dig "spill" "size" "" $own) "64Mi" }}}
    {{- end }}
  {{- range $folder, $secret := $secrets }}
  {{- if $secret }}
  - {name: {{ $folder }}, secret: {secretName: {{ $secret }}, defaultMode: 0440}}
  {{- end }}
  {{- end }}
{{- end }}
