{{- define "espalier.labels" -}}
app.kubernetes.io/name: espalier
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "espalier.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "espalier.sharesStore" -}}
{{- if or .Values.eventStore.connectionSecret .Values.eventStore.kurrentdb.enabled }}true{{ end }}
{{- end }}

{{- /* Refuses values that no server could work with. */}}
{{- define "espalier.check" -}}
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
