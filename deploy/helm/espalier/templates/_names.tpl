{{- define "espalier.labels" -}}
app.kubernetes.io/name: espalier
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* The labels of the pods of the fleet's engines. */}}
{{- define "espalier.engineLabels" -}}
app.kubernetes.io/name: espalier-engine
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "espalier.image" -}}
{{- with .Values.image }}
{{- $tag := .tag | default (ternary $.Chart.AppVersion "" (empty .digest)) }}
{{- .repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- define "espalier.sharesStore" -}}
{{- if or .Values.eventStore.connectionSecret .Values.eventStore.kurrentdb.enabled }}true{{ end }}
{{- end }}

{{- /*
The server's name of its fleet has at most 20 characters, and the name of a release may have more. The two servers of a release have fleets
with different names.
*/}}
{{- define "espalier.fleetName" -}}
{{- if eq .part "server" }}{{ .release | trunc 20 | trimSuffix "-" }}{{ else }}{{ .release | trunc 12 | trimSuffix "-" }}-standby{{ end }}
{{- end }}

{{- /*
Refuses a release whose name can't be the beginning of each name in the chart. Kubernetes gives the pods of a StatefulSet a label with its
name and 11 characters more. A label has at most 63.
*/}}
{{- define "espalier.checkName" -}}
{{- $name := .Release.Name }}
{{- $longest := "" }}
{{- if .Values.standby.enabled }}{{ $longest = "-standby" }}{{ end }}
{{- if .Values.eventStore.kurrentdb.enabled }}{{ $longest = "-kurrentdb" }}{{ end }}
{{- $most := sub 52 (len $longest) }}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) }}
{{- fail (printf "the name of the release is %q, and Services have it too: small letters, digits and hyphens are allowed, a letter first and no hyphen last" $name) }}
{{- end }}
{{- if gt (len $name) (int $most) }}
{{- fail (printf "the name of the release %q has %d characters: at most %d are allowed, since a StatefulSet is named RELEASE%s and has at most 52" $name (len $name) $most $longest) }}
{{- end }}
{{- end }}

{{- /* Refuses values that no server could work with. values.schema.json refuses those that are wrong by themselves. */}}
{{- define "espalier.check" -}}
{{- include "espalier.checkName" . }}
{{- $repository := .Values.image.repository }}
{{- $tag := .Values.image.tag | default "" }}
{{- if not (regexMatch "^[a-z0-9][a-z0-9._/-]*(:[0-9]+/[a-z0-9._/-]+)?$" $repository) }}
{{- fail (printf "image.repository is %q: the name of an image in small letters without tag and digest is allowed, as registry.example.org:5000/espalier. Those are image.tag and image.digest" $repository) }}
{{- end }}
{{- if not (regexMatch "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$" $tag) }}
{{- fail (printf "image.tag is %q: at most 128 letters, digits, and . _ - are allowed. A digest is image.digest" $tag) }}
{{- end }}
{{- range .Values.extraArgs }}
{{- if hasPrefix "--tls-client-ca" . }}
{{- fail "extraArgs has --tls-client-ca, which is not allowed: the probes of the kubelet and the engines of the fleet show no certificate" }}
{{- end }}
{{- end }}
{{- if and .Values.eventStore.connectionSecret .Values.eventStore.kurrentdb.enabled }}
{{- fail "eventStore.connectionSecret and eventStore.kurrentdb.enabled name two event stores: one is allowed" }}
{{- end }}
{{- if .Values.standby.enabled }}
{{- if not (include "espalier.sharesStore" .) }}
{{- fail "standby.enabled needs an event store that both servers reach: eventStore.connectionSecret, or eventStore.kurrentdb.enabled" }}
{{- end }}
{{- if not .Values.artifacts.location }}
{{- fail "standby.enabled needs artifacts that both servers reach: artifacts.location" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Asks the server itself: a port also takes connections for a process that hangs. The kubelet does not check the certificate. */}}
{{- define "espalier.probe" -}}
httpGet:
  path: /health/live
  port: web
  scheme: HTTPS
timeoutSeconds: 10
{{- end }}

{{- /* Which nodes take the pods of the servers and the store, and from where their images come. */}}
{{- define "espalier.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The template of an engine's pod. It writes to its cache and to /tmp only. */}}
{{- define "espalier.enginePod" -}}
{{- $fleet := .Values.fleet }}
{{- $pod := omit $fleet.pod "volumes" "containers" }}
{{- $container := omit $fleet.container "env" "volumeMounts" }}
metadata:
  labels:
    app.kubernetes.io/instance: {{ .Release.Name | quote }}
    {{- with $fleet.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $fleet.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $pod }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if not (hasKey $pod "imagePullSecrets") }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  {{- end }}
  volumes:
    - name: espalier-cache
      {{- toYaml ($fleet.cache | default (dict "emptyDir" dict)) | nindent 6 }}
    - name: espalier-tmp
      emptyDir: {}
    {{- with $fleet.pod.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  containers:
    - name: engine
      {{- with $container }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      env:
        - name: HOME
          value: /data
        {{- with $fleet.container.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumeMounts:
        - name: espalier-cache
          mountPath: /data
        - name: espalier-tmp
          mountPath: /tmp
        {{- with $fleet.container.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}
